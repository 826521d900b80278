// Compiled against the types that openapi-typescript makes of the document, then run: makes a picture with openapi-fetch.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [url, key, body] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { key } });

const made = await client.POST("/api/v4/dreambooth/img2img", { body: { model_id: "pocket", ...JSON.parse(body) } });
if (made.data?.status !== "success") throw new Error(JSON.stringify(made.error ?? made.data));
const meta: components["schemas"]["Meta"] = made.data.meta;
const links: string[] = made.data.output;
if (typeof meta.seed !== "number" || links.length !== meta.n_samples) throw new Error("not what the types say");

const job = await client.GET("/v1/jobs/{id}", { params: { path: { id: made.data.id } } });
if (job.data?.status !== "success") throw new Error("not the job");
const wrong = await client.GET("/v1/jobs/{id}", { params: { path: { id: 1 } } });
if (wrong.error?.status !== "error") throw new Error("not an error");
console.log("used");
