"""V41, V85: what only the build may know is in nothing that it prints or writes, however it ends."""

import base64

import pytest

pytestmark = [pytest.mark.userns, pytest.mark.slow, pytest.mark.usefixtures("userns")]

NAMES = ("file", "variable", "token", "header", "gittoken", "githeader", "url", "giturl", "proxy")
SECRETS = {name: f"hush{name}hush" for name in NAMES}
STARTS = ("", "me:", "x-access-token:")
NEEDLES = {
    *SECRETS.values(),
    # Less its end, which depends on what comes after.
    *(
        base64.b64encode(f"{start}{secret}".encode())[:-4].decode()
        for start in STARTS
        for secret in SECRETS.values()
    ),
}
CHANNELS = {
    "plain": ("--progress=plain",),
    "rawjson": ("--progress=rawjson",),
    "debug": ("--debug", "--progress=plain"),
    "plan": ("--print-plan",),
    "plan as JSON": ("--print-plan=json",),
    "check": ("--check",),
}


@pytest.fixture
def server(web, repositories, new_git_server):
    """Serve files, and repositories to whoever has the right header."""
    repositories[1]("app").commit({"a.txt": "a"})
    web.put("/f", b"text")
    web.put("/denied", status=401)
    return web, new_git_server()


@pytest.fixture
def audit(wcbuild, context, tmp_path):
    """Build with secrets of all kinds, and look for them in everything that is seen afterwards."""

    def run(dockerfile, *words, ends=0, on="."):
        folder = context(f"FROM base\n{dockerfile}\n")
        outside = tmp_path.parent / f"{tmp_path.name}-secret"
        outside.write_text(SECRETS["file"])
        variables = {f"S_{name}": secret for name, secret in SECRETS.items()}
        ids = {
            "variable": "variable",
            "HTTP_AUTH_TOKEN_127.0.0.1": "token",
            "HTTP_AUTH_HEADER_localhost": "header",
            "GIT_AUTH_TOKEN": "gittoken",
            "GIT_AUTH_HEADER.localhost": "githeader",
        }
        flags = [f"--secret=id={id_},env=S_{name}" for id_, name in ids.items()]
        done = wcbuild(
            *("build", *flags, f"--secret=id=file,src={outside}", *words),
            *("--build-context", f"base=oci-layout://{wcbuild.base}", "-t", "built"),
            *("--metadata-file", tmp_path / "metadata.json"),
            folder if on == "." else on,
            check=False,
            env=variables,
        )
        assert done.returncode == ends, done.stderr
        seen = {"stdout": done.stdout, "stderr": done.stderr}
        if not ends and wcbuild("images", "-q").stdout:
            wcbuild("save", "-o", tmp_path / "saved.tar", "built")
            for command in ("history", "inspect"):
                seen[command] = wcbuild(command, "built").stdout
        seen |= {
            str(path): f"{path} {path.read_bytes().decode('latin-1')}"
            for path in (*wcbuild.root.rglob("*"), *tmp_path.glob("*.*"))
            if path.is_file() and not path.is_symlink()
        }
        for name, text in seen.items():
            assert not [needle for needle in NEEDLES if needle in text], name
        return done

    return run


@pytest.mark.parametrize("words", CHANNELS.values(), ids=CHANNELS)
def test_a_build_that_succeeds_tells_nobody_a_secret(audit, server, words):
    web, git = server
    user = f"http://me:{SECRETS['giturl']}@{git.host}/git/app.git"
    dockerfile = f"""\
RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN \\
    test -s /run/secrets/file && test -n "$TOKEN"
ADD {web.url}/f /token
ADD http://localhost:{web.host.partition(":")[2]}/f /header
ADD http://me:{SECRETS["url"]}@{web.host}/f /url
ADD {git.url}/git/app.git /git
ADD --keep-git-dir {user} /user"""
    audit(dockerfile, *words)
    if "--progress=plain" in words:
        sent = {each.headers.get("authorization", "") for each in (*web.asked, *git.asked)}
        assert f"Bearer {SECRETS['token']}" in sent
        assert SECRETS["header"] in sent
        token = base64.b64encode(f"x-access-token:{SECRETS['gittoken']}".encode()).decode()
        assert f"basic {token}" in sent


FAILURES = {
    "a step": "RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN false",
    "a refusal": "ADD http://me:{url}@{web}/denied /x",
    "nobody": "ADD http://me:{url}@127.0.0.1:1/f /x",
    "another checksum": f"ADD --checksum=sha256:{'0' * 64} http://me:{{url}}@{{web}}/f /x",
    "an impossible URL": "ADD http://me:{url}@[::1/f /x",
    "a URL that is none": "ADD http://me:{url}@{web}/%zz /x",
    "an unknown flag": "ADD --nope http://me:{url}@{web}/f /x",
    "COPY of a URL": "COPY http://me:{url}@{web}/f /x",
    "no repository": "ADD http://me:{giturl}@{git}/git/none.git /x",
    "no ref": "ADD http://me:{giturl}@{git}/git/app.git#none /x",
    "a wrong query": "ADD http://me:{giturl}@{git}/git/app.git?nope=1 /x",
    "no SSH": "ADD ssh://me:{giturl}@127.0.0.1:1/app.git /x",
    "no git": "ADD git://me:{giturl}@127.0.0.1:1/app.git /x",
}


@pytest.mark.parametrize("words", [("--progress=plain",), ("--debug", "--progress=rawjson")])
@pytest.mark.parametrize("line", FAILURES.values(), ids=FAILURES)
def test_a_build_that_fails_tells_nobody_a_secret(audit, server, line, words):
    web, git = server
    audit(line.format(**SECRETS | {"web": web.host, "git": git.host}), *words, ends=1)


@pytest.mark.parametrize("path", ["git/app.git", "git/app.git#none", "git/app.git?no=1", "denied"])
def test_a_context_tells_nobody_the_password_of_its_url(audit, server, path):
    _, git = server
    url = f"http://me:{SECRETS['giturl']}@{git.host}/{path}"
    audit("", "-f", "-", on=url, ends=1)
    audit("COPY --from=named . /", "--build-context", f"named={url}", ends=path != "git/app.git")


def test_a_proxy_that_cannot_be_reached_is_named_without_its_password(audit, monkeypatch):
    proxy = f"http://me:{SECRETS['proxy']}@127.0.0.1:1"
    monkeypatch.setenv("http_proxy", proxy)
    for url in ("http://h.example/f", "http://h.example/app.git"):
        done = audit(f"ADD {url} /", "--progress=plain", ends=1)
        assert "127.0.0.1" in done.stderr


def test_a_proxy_of_steps_is_in_no_image(audit):
    audit("RUN test -n $HTTP_PROXY", f"--build-arg=HTTP_PROXY=http://me:{SECRETS['proxy']}@h:1")
