"""git over HTTP: a clone is many connections, and every octet of it is checked by git itself."""

import pytest

import clients

pytestmark = clients.needs("git", "git")


@pytest.fixture
def repository(web, tmp_path):
    """A path below the web server, where a repository can be cloned from."""
    env = {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*words, directory=None):
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@interop.test"]
        return clients.checked(clients.run("git", *who, *words, env=env, directory=directory))

    source, bare = tmp_path / "source", web.directory / f"{tmp_path.name}.git"
    git("init", "-q", "-b", "main", source)
    for number in range(20):
        (source / f"file-{number}").write_text(f"{number}\n" * 100)
    git("add", ".", directory=source)
    git("commit", "-q", "-m", "twenty files", directory=source)
    git("clone", "-q", "--bare", source, bare)
    git("update-server-info", directory=bare)
    return git, bare


@pytest.mark.parametrize("scheme, host", [("socks5h", "web.interop.test"), ("socks5", None),
                                          ("socks4", None)])
def test_git_clones(proxy, web, access, repository, tmp_path, scheme, host):
    git, bare = repository
    git("-c", f"http.proxy={scheme}://{proxy.address}", "clone", "-q", web.url(bare.name, host),
        tmp_path / "clone")
    assert (tmp_path / "clone" / "file-19").read_text() == "19\n" * 100
    git("fsck", "--strict", directory=tmp_path / "clone")
    access(destination=web.destination(host), version=scheme[:6])
