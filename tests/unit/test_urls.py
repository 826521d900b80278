"""What a URL may be that a stranger gave, and what of it is shown."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.kinds import Picture, Url
from serve_app.api.values import Refusal
from serve_app.urls import UrlRefused, require_callable, shown_url, without_secrets

GOOD = [
    "http://a.test", "HTTPS://A.test:8443/x?y=1#z", "http://1.2.3.4/", "http://[2001:db8::1]:80/", "http://bücher.test/ä",
    "http://a_b.test/", "http://a.test./",
]  # fmt: skip
BAD = [
    "", "a.test/x", "//a.test/", "ftp://a.test/", "file:///etc/passwd", "http://", "http:///x", "http://[", "http://[::1",
    "http://a.test:0/", "http://a.test:99999/", "http://a.test:x/", "http://a b.test/", "http://a.test/\r\nX: y",
    "http://" + "a" * 64 + ".test/", "http://" + "a." * 130 + "test/", "http://a..test/", "http://\ud800/",
    "http://user@a.test/", "http://user:word@a.test/", "http://:@a.test/", "http://[fe80::1%25eth0]/",
    "http://[::1%25lo]/", "http://[v1.x]/",
]  # fmt: skip


@pytest.mark.parametrize("url", GOOD)
def test_urls_that_can_be_called_are_taken(url: str) -> None:
    require_callable(url)
    assert Url(2048).read(url) == url


@pytest.mark.parametrize("url", BAD)
def test_urls_that_never_can_be_called_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        require_callable(url)


def test_a_url_with_a_user_is_refused_by_that_name_in_both_fields() -> None:
    for kind in (Url(2048), Picture()):
        with pytest.raises(Refusal) as caught:
            kind.read("https://user:word@a.test/")
        assert caught.value.sentence == "The {label} may not hold a user name or a password."


def test_a_blank_in_a_pictures_url_is_escaped() -> None:
    assert Picture().read("http://a.test/my photo.png") == "http://a.test/my%20photo.png"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a.test/x.png?w=1&name=cat", None),
        ("HTTP://A.test/ä.png", None),
        ("https://a.test/3f786850-e387-550f-daba-836ed7e6dc88.png", None),
        ("https://a.test/files/3f786850-e387-550f-daba-836ed7e6dc88/x", None),
        ("http://user:word@a.test/", "http://***@a.test/"),
        ("http://user@a.test:80/x", "http://***@a.test:80/x"),
        ("http://a.test/?token=abc&size=1", "http://a.test/?token=***&size=1"),
        ("http://a.test/?X-Amz-Signature=ab12&X-Amz-Expires=9", "http://a.test/?X-Amz-Signature=***&X-Amz-Expires=9"),
        (
            "http://a.test/?api_key=x&apiKey=y&sig=z&design=oak",
            "http://a.test/?api_key=***&apiKey=***&sig=***&design=oak",
        ),
        ("http://a.test/?q=A1b2C3d4E5f6G7h8", "http://a.test/?q=***"),
        ("http://a.test/?A1b2C3d4E5f6G7h8", "http://a.test/?***"),
        ("http://a.test/#access", "http://a.test/#***"),
        ("https://hooks.test/services/T00/B00/xAbCdEfGh1JkLmNoPqRsTuVw", "https://hooks.test/services/T00/B00/***"),
        ("https://hooks.test/sk_live_4eabchqlyjwdarjtt1zdp7dc", "https://hooks.test/***"),
        ("https://hooks.test/5f4dcc3b5aa765d61d8327deb882cf99/x", "https://hooks.test/***/x"),
        ("https://a.test/a-holiday-in-the-summer-of-2026/photos", None),
        ("http://a.test/x?a=1;token=abc;b=2", "http://a.test/x?a=1;token=***;b=2"),
        ("http://a.test/x;jsessionid=abc/y;v=1", "http://a.test/x;jsessionid=***/y;v=1"),
        ("http://a.test/?%74oken=abc&acces%73_key=d", "http://a.test/?%74oken=***&acces%73_key=***"),
        ("http://a.test/?otp=123456&pin=1234&pw=x&totp=9", "http://a.test/?otp=***&pin=***&pw=***&totp=***"),
        ("http://a.test/?spin=1&pwm=2&option=3&pinned=4", None),
        ("http://a.test/x?hdnts=exp=17~acl=/*~hmac=0123456789abcdef", "http://a.test/x?hdnts=***"),
        ("http://a.test/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgN/a.png", "http://a.test/***/a.png"),
        ("http://a.test/aBc123aBc123aBc123aBc1=/x", "http://a.test/***/x"),
        ("http://a.test/%61bcdEF123456789abcdEFGH/x", "http://a.test/***/x"),
        ("http://a.test/abc__a1b2c3d4e5f6a7b8c9/x", "http://a.test/***/x"),
        ("http://a.test/?redirect=https://u:pw@b.test/", "http://a.test/?redirect=***"),
        ("http://a.test/?u=http%3A%2F%2Fb.test%2F%3Ftoken%3Dabc", "http://a.test/?u=***"),
        ("http://a.test/?author=a&keyword=b&passenger=c&compass=d&tokenizer=e&country=f", None),
        (
            "http://a.test/?phpsessid=a&ticket=b&sign=c&bearer=d",
            "http://a.test/?phpsessid=***&ticket=***&sign=***&bearer=***",
        ),
        ("http://[", "***"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(url: str, shown: str | None) -> None:
    assert shown_url(url) == (url if shown is None else shown)


def test_urls_in_a_text_are_shown_without_their_secrets() -> None:
    text = 'tried "http://u:p@a.test/x" and https://b.test/?key=1, twice'
    assert without_secrets(text) == 'tried "http://***@a.test/x" and https://b.test/?key=***, twice'.replace(
        "***,", "***"
    )


def test_a_long_word_in_a_text_costs_little() -> None:
    began = time.process_time()
    for text in ("a" * 200_000, "a+" * 100_000 + "://x", "http://" + "a-" * 100_000):
        without_secrets(text)
    assert time.process_time() - began < 20, "read again from each of its letters it takes minutes"


@given(st.text())
def test_showing_never_raises_and_shows_the_same_again(text: str) -> None:
    assert shown_url(shown_url("http://" + text)) == shown_url("http://" + text)
