"""Requests as the records keep them: JSON, without the data of a picture. A URL is kept as it came."""

from serve_app.api.wire import Img2ImgRequest

UPLOADED = "uploaded file"
INLINE = "base64 image"


def stored_request(request: Img2ImgRequest) -> str:
    """The request as JSON. Where the picture came inside the request, words stand for it."""
    told = shown_picture(request.init_image)
    return request.model_copy(update={"init_image": told}).model_dump_json()


def load_request(text: str) -> Img2ImgRequest:
    """The request that `stored_request` wrote; answers tell the same of it. Raises ValueError for anything else."""
    return Img2ImgRequest.model_validate_json(text)


def shown_picture(picture: str | bytes) -> str:
    """The URL as it came, else words: the data of a picture is neither kept nor sent back."""
    if isinstance(picture, bytes) or picture == UPLOADED:
        return UPLOADED
    return picture if picture[:8].lower().startswith(("http://", "https://")) else INLINE
