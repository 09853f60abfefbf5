"""Sign-in attempts: where the browser may be sent afterwards."""

import pytest

from domain.identity.sign_in_attempt import DESTINATION_MAX, is_destination


@pytest.mark.parametrize(
    "text",
    [
        *("/app/", "/app/p/1/traces?query=a/../b", "/app/p/a.b/..c/...", "/app/#/../x"),
        *("/cli-login?port=1&state=../x", "/app/" + "x" * (DESTINATION_MAX - 5)),
    ],
)
def test_page_of_this_service_is_a_destination(text: str) -> None:
    assert is_destination(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "/",
            "//evil.example/app/",
            "https://evil.example/app/",
            "/application",
            "/cli-login",
        ),
        *("/app/\\evil.example", "/app/\r\nx: y", "/app/ x", "/app/é"),
        *("/app/..", "/app/../other", "/app/x/../../other", "/app/./x", "/app/../?x"),
        *("/app/%2e%2e/other", "/app/.%2E/other", "/app/..#x", "/app/" + "x" * DESTINATION_MAX),
    ],
)
def test_other_text_is_no_destination(text: str) -> None:
    assert not is_destination(text)
