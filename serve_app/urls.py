"""What a URL may be that a stranger gave, for init images and webhooks alike, and how one is shown.

The only judge of that: requests are refused by it, and whatever opens a connection asks it again for redirects.
Where a host leads to is `inputs.guard`'s to say.
"""

import re
from collections.abc import Callable
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
URL_IN_TEXT = re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^\s\"'<>]+", re.IGNORECASE)
"""A scheme has no more than 31 characters here: else a long word is read again from each of its letters."""
SECRET_NAME = re.compile(
    r"(?<![a-z])pass(?!age|enger)|passw|passphrase|pwd|psw|secret|token(?!iz)|(?<![a-z])key(?![a-z])|(?:access|api)_?key"
    r"|signature|(?<![a-z])sig(?![a-z])|(?<![a-z])sign(?![a-z])|auth(?!or)|cred|session|sessid|(?<![a-z])sid(?![a-z])|jwt"
    r"|(?<![a-z])code(?![a-z])|hmac|policy|otp(?![a-z])|(?<![a-z])pin(?:code)?(?![a-z])|(?<![a-z])pw(?![a-z])|ticket|bearer",
    re.IGNORECASE,
)
"""In the name of a query's value: what it holds is a secret."""
TOKEN = re.compile(r"(?=[^A-Za-z]*[A-Za-z])(?=\D*\d)[A-Za-z0-9_~+/=.%:-]{16,}")
"""Letters and digits as nobody chooses by hand."""
PATH_TOKEN = re.compile(r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=\D*\d)[A-Za-z0-9_:~=+/-]{20,}")
"""... and as receivers of webhooks write them into a path; a file's name has a dot, a UUID one case."""
TOKEN_PIECE = re.compile(r"(?=[0-9]*[A-Za-z])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16,}")
"""Between other characters: 32 hexadecimal digits, say; a UUID's pieces are shorter."""
NO_LETTER = re.compile(r"[^A-Za-z0-9]+")
JSON_TOKEN = "eyJ"
"""How a JSON Web Token begins."""


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
        query="&".join(_shown_pairs(pairs, _is_query_token) for pairs in parts.query.split("&")),
        fragment=HIDDEN if parts.fragment else "",
    )
    return url if shown == parts else shown.geturl()


def _shown_part(part: str) -> str:
    """A part of a path, and the parameters that servlets write behind it."""
    name, semicolon, pairs = part.partition(";")
    return (HIDDEN if _is_path_token(name) else name) + semicolon + _shown_pairs(pairs, _is_path_token)


def _is_path_token(part: str) -> bool:
    plain = unquote(part)
    if "." in plain:
        return plain.startswith(JSON_TOKEN)
    pieces = NO_LETTER.split(plain)
    return PATH_TOKEN.fullmatch(plain) is not None or any(TOKEN_PIECE.fullmatch(piece) for piece in pieces)


def _is_query_token(value: str) -> bool:
    """Also what holds a secret's name and value itself, such as a signed link's policy or a whole URL."""
    plain = unquote(value)
    return (
        TOKEN.fullmatch(value) is not None or ("=" in plain and SECRET_NAME.search(plain) is not None) or "@" in plain
    )


def _shown_pairs(pairs: str, is_token: Callable[[str], bool]) -> str:
    return ";".join(_shown_pair(pair, is_token) for pair in pairs.split(";"))


def _shown_pair(pair: str, is_token: Callable[[str], bool]) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return HIDDEN if is_token(name) else name
    return f"{name}={HIDDEN}" if value and (SECRET_NAME.search(unquote(name)) or is_token(value)) else pair


def without_secrets(text: str) -> str:
    """A text with each URL in it as it is shown."""
    return URL_IN_TEXT.sub(lambda found: shown_url(found[0]), text)
