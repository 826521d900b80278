"""Run with the client of openapi-python-client beside it: makes a picture, reads typed answers, shows a wrong field."""

import json
import sys
from http import HTTPStatus

from gen.api.catalogue import models
from gen.api.fetch import get_v4_dreambooth_fetch_by_id
from gen.api.jobs import job, job_ticket
from gen.api.make import v4_dreambooth_img2img
from gen.client import AuthenticatedClient
from gen.models.error import Error
from gen.models.img_2_img_request import Img2ImgRequest
from gen.models.job import Job
from gen.models.key_only import KeyOnly
from gen.models.models import Models
from gen.models.success import Success
from gen.models.ticket import Ticket

url, key, body = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with AuthenticatedClient(base_url=url, token=key) as client:
    listed = models.sync(client=client)
    assert isinstance(listed, Models)
    assert [model.id for model in listed.data] == ["pocket"]
    made = v4_dreambooth_img2img.sync(client=client, body=Img2ImgRequest(model_id="pocket", **body))
    assert isinstance(made, Success), made
    assert made.meta.seed == body["seed"]
    again = get_v4_dreambooth_fetch_by_id.sync(made.id, client=client)
    assert isinstance(again, Success)
    assert again.output == made.output
    told = job.sync(made.id, client=client)
    assert isinstance(told, Job)
    assert told.status == "success"
    assert isinstance(job_ticket.sync(made.id, client=client, body=KeyOnly()), Ticket)
    refused = v4_dreambooth_img2img.sync_detailed(
        client=client, body=Img2ImgRequest(model_id="pocket", **{**body, "width": 5})
    )
    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert isinstance(refused.parsed, Error)
print("used")
