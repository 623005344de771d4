"""Chromium without a screen: a page, its script and its picture through the proxy."""

import pytest

import clients

CHROMIUM = next((n for n in ("chromium-headless-shell", "chromium") if clients.program(n)),
                "chromium-headless-shell")
pytestmark = clients.needs(CHROMIUM, "chromium-headless-shell")

PAGE = """<!DOCTYPE html>
<html><head><title>interop</title></head>
<body><p id="text">not yet</p><img src="dot.svg" onload="seen += ' picture'">
<script>var seen = "page";</script>
<script src="script.js"></script></body></html>
"""
SCRIPT = """addEventListener("load", function () {
    document.getElementById("text").textContent = "seen: " + seen + " script";
});
"""
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


@pytest.fixture
def site(web, web6):
    """On both addresses."""
    (web.directory / "site.html").write_text(PAGE)
    (web.directory / "script.js").write_text(SCRIPT)
    (web.directory / "dot.svg").write_text(PICTURE)
    return {4: web, 6: web6}


@pytest.fixture
def browse(tmp_path):
    """browse(scheme, proxy, url): what became of the page."""
    def dump(scheme, proxy, url):
        env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        return clients.run(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu",
                           f"--user-data-dir={tmp_path}",
                           f"--proxy-server={scheme}://{proxy.address}",
                           "--proxy-bypass-list=<-loopback>", "--dump-dom", url, env=env)
    return dump


@pytest.mark.parametrize("scheme, version, family, host", [("socks4", 4, 4, None),
                                                           ("socks5", 5, 4, None),
                                                           ("socks5", 5, 6, None),
                                                           ("socks5", 5, 4, "web.interop.test")])
def test_chromium_shows_a_page_with_its_parts(proxy, site, access, browse, scheme, version, family,
                                              host):
    web = site[family]
    done = browse(scheme, proxy, web.url("site.html", host))
    assert b"seen: page picture script" in clients.checked(done), done
    record = access(destination=web.destination(host), version=f"socks{version}")
    assert record["target"] == web.destination()


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_chromium_says_that_a_closed_port_refused(proxy, sockets, access, browse, scheme):
    host, port = sockets.closed_port()
    done = browse(scheme, proxy, f"http://{host}:{port}/")
    assert b"ERR_SOCKS_CONNECTION_FAILED" in done.stdout + done.stderr, done
    access(destination=f"{host}:{port}", reply="refused")


def test_chromium_says_that_a_name_leads_nowhere(proxy, access, browse):
    done = browse("socks5", proxy, "http://nowhere.interop.test/")
    assert b"ERR_SOCKS_CONNECTION_FAILED" in done.stdout + done.stderr, done
    access(destination="nowhere.interop.test:80", reply="name_not_found")
