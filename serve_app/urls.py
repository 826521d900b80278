"""What a URL may be that a stranger gave, for init images and webhooks alike, and how one is shown.

The only judge of that: requests are refused by it, and whatever opens a connection asks it again for redirects.
Where a host leads to is `inputs.guard`'s to say.
"""

import re
from ipaddress import IPv6Address
from urllib.parse import unquote, urlsplit

import httpx2

INVALID = "The {label} must be a valid URL."
CREDENTIALS = "The {label} may not hold a user name or a password."
LONGEST_HOST = 253
LONGEST_LABEL = 63
LABEL = re.compile(r"[A-Za-z0-9_-]+")

URL_START = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
DATA_HEAD = re.compile(r"[^,]{0,256}\bbase64\b[^,]{0,256},", re.IGNORECASE)
"""What a data URI writes before its base64."""

HIDDEN = "***"
URL_IN_TEXT = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
SECRET_NAME = re.compile(
    r"pass|pwd|secret|token|(?<![a-z])key|access_?key|api_?key|signature|(?<![a-z])sig(?![a-z])|auth|cred|session|jwt"
    r"|(?<![a-z])code|hmac|policy|otp(?![a-z])|(?<![a-z])pin(?![a-z])|(?<![a-z])pw(?![a-z])",
    re.IGNORECASE,
)
"""In the name of a query's value: what it holds is a secret."""
TOKEN = re.compile(r"(?=[^A-Za-z]*[A-Za-z])(?=\D*\d)[A-Za-z0-9_~+/=.%:-]{16,}")
"""Letters and digits as nobody chooses by hand."""
PATH_TOKEN = re.compile(
    r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=\D*\d)[A-Za-z0-9_:-]{20,}"
    r"|(?:[A-Za-z0-9]+[_:-])*(?=[0-9]*[A-Za-z])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16,}(?:[_:-][A-Za-z0-9]+)*"
)
"""... and as receivers of webhooks write them into a path; a file's name has a dot, a UUID short groups of one case."""


class UrlRefused(ValueError):
    """No such URL is ever called. `sentence` says so in the contract's words, with {label} for the field's name."""

    def __init__(self, why: str, sentence: str = INVALID) -> None:
        super().__init__(why)
        self.sentence = sentence


def looks_like_url(text: str) -> bool:
    """Whether an init image names a place, of any scheme, and does not hold the picture itself."""
    return URL_START.match(text) is not None


def require_callable(text: str) -> httpx2.URL:
    """An absolute http or https URL with a host that can be a host's name, and no user in it. Raises UrlRefused."""
    if not text.isprintable() or " " in text:
        raise UrlRefused("the URL holds what no URL does")
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as error:  # ValueError: hosts that are no text, such as surrogates
        raise UrlRefused("the URL cannot be read") from error
    if url.scheme not in ("http", "https"):
        raise UrlRefused(f"scheme {url.scheme!r} is not http or https")
    if not _is_hosts_name(url.raw_host.decode("ascii")):
        raise UrlRefused("the URL names no host")
    if url.port is not None and not 0 < url.port < 65536:
        raise UrlRefused(f"there is no port {url.port}")
    if url.userinfo:
        raise UrlRefused("the URL carries a user or password", CREDENTIALS)
    return url


def _is_hosts_name(host: str) -> bool:
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            return False
        return address.scope_id is None  # a zone is a name of the sender's own network interfaces (RFC 6874)
    labels = host.removesuffix(".").split(".")
    return len(host) <= LONGEST_HOST and all(len(label) <= LONGEST_LABEL and LABEL.fullmatch(label) for label in labels)


def shown_url(url: str) -> str:
    """The URL for whoever may not know its secrets: user, password, and values that look like tokens are hidden."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    _, at, host = parts.netloc.rpartition("@")
    shown = parts._replace(
        netloc=f"{HIDDEN}@{host}" if at else host,
        path="/".join(_shown_part(part) for part in parts.path.split("/")),
        query="&".join(_shown_pairs(pairs, TOKEN) for pairs in parts.query.split("&")),
        fragment=HIDDEN if parts.fragment else "",
    )
    return url if shown == parts else shown.geturl()


def _shown_part(part: str) -> str:
    """A part of a path, and the parameters that servlets write behind it."""
    name, semicolon, pairs = part.partition(";")
    return (HIDDEN if PATH_TOKEN.fullmatch(name) else name) + semicolon + _shown_pairs(pairs, PATH_TOKEN)


def _shown_pairs(pairs: str, token: re.Pattern[str]) -> str:
    return ";".join(_shown_pair(pair, token) for pair in pairs.split(";"))


def _shown_pair(pair: str, token: re.Pattern[str]) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return HIDDEN if token.fullmatch(name) else name
    return f"{name}={HIDDEN}" if value and (SECRET_NAME.search(unquote(name)) or token.fullmatch(value)) else pair


def without_secrets(text: str) -> str:
    """A text with each URL in it as it is shown."""
    return URL_IN_TEXT.sub(lambda found: shown_url(found[0]), text)
