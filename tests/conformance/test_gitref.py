"""Git URLs, as BuildKit reads them."""

from wcbuild.dockerfile.gitref import GitRefError, parse_git_ref


def check(record):
    wanted = record["out"]
    try:
        got = parse_git_ref(record["in"])
    except GitRefError as error:
        refused = wanted["is_git"] and wanted["err"]
        return None if refused else f"{record['in']!r}: refused: {error}"
    if got is None:
        return None if not wanted["is_git"] else f"{record['in']!r}: not taken for a git URL"
    if not wanted["ref"]:
        return f"{record['in']!r}: expected {wanted['err']}, got {got}"
    # Theirs has no scheme where the text has none.
    remote = got.remote.removeprefix("https://") if got.may_be_path else got.remote
    ours = {
        "Remote": remote,
        "Ref": got.ref,
        "Checksum": got.checksum,
        "SubDir": got.subdir,
        "IndistinguishableFromLocal": got.may_be_path,
        "KeepGitDir": got.keep_git_dir,
        "Submodules": got.submodules,
        "MTime": got.mtime,
        "FetchByCommit": got.fetch_by_commit,
    }
    theirs = {name: wanted["ref"][name] for name in ours}
    return None if ours == theirs else f"{record['in']!r}\n  expected {theirs}\n  got {ours}"


def test_git_urls_are_read_as_buildkit_reads_them(tables, measure):
    records = tables("git_ref")
    measure("git_ref", records, check, floor=len(records))
