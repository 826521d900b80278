"""Requests as the records keep them: JSON, without the data of a picture and the secrets of URLs."""

from serve_app.api.wire import Img2ImgRequest
from serve_app.urls import looks_like_url, shown_url

UPLOADED = "uploaded file"
INLINE = "base64 image"


def stored_request(request: Img2ImgRequest) -> str:
    """The request as JSON. Where the picture came inside the request, words stand for it."""
    webhook = None if request.webhook is None else shown_url(request.webhook)  # whole only where it is sent from
    told = {"init_image": shown_picture(request.init_image), "webhook": webhook}
    return request.model_copy(update=told).model_dump_json()


def load_request(text: str) -> Img2ImgRequest:
    """The request that `stored_request` wrote; answers tell the same of it. Raises ValueError for anything else."""
    return Img2ImgRequest.model_validate_json(text)


def shown_picture(picture: str | bytes) -> str:
    """The URL less its secrets, else words: the data of a picture is neither kept nor sent back."""
    if isinstance(picture, bytes) or picture == UPLOADED:
        return UPLOADED
    return shown_url(picture) if looks_like_url(picture) else INLINE
