import errno
import os
import threading

import pytest

from registry.errors import StoreError, TooLargeError
from registry.files import (
    FileLock,
    atomic_write,
    create_temporary,
    locked_directory,
    read_limited,
    store_errors,
)


@pytest.mark.parametrize("durable", [False, True])
def test_replaces_a_file_whole_and_leaves_nothing_beside_it(tmp_path, durable):
    path = tmp_path / "file"
    atomic_write(path, b"old")
    atomic_write(path, b"new", mode=0o644, durable=durable)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["file"]


def test_failed_replacement_changes_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        atomic_write(tmp_path / "folder", b"x")
    assert os.listdir(tmp_path) == ["folder"]


def test_readers_see_the_old_bytes_or_the_new_ones(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([number]) * 50_000 for number in range(20)]
    atomic_write(path, contents[0], durable=False)
    done = threading.Event()

    def write():
        for content in contents * 5:
            atomic_write(path, content, durable=False)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        assert path.read_bytes() in contents
    thread.join()


def test_temporary_file_never_follows_what_is_there(tmp_path):
    fd, path = create_temporary(tmp_path, ".new-")
    os.close(fd)
    assert os.path.basename(path).startswith(".new-")
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "another --root"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_system_errors_say_what_may_help(tmp_path, number, words):
    with pytest.raises(StoreError, match=words), store_errors(tmp_path):
        raise OSError(number, os.strerror(number))


def test_lock_is_shared_exclusive_and_freed(tmp_path):
    path = tmp_path / "lock"
    reader, other, writer = FileLock(path), FileLock(path), FileLock(path)
    assert reader.acquire(shared=True, wait=False)
    assert other.acquire(shared=True, wait=False)
    assert not writer.acquire(shared=False, wait=False)
    reader.release()
    other.release()
    other.release()
    assert writer.acquire(shared=False, wait=False)
    assert not reader.acquire(shared=True, wait=False)
    writer.release()
    reader.release()


def test_locked_directory_lets_one_in_at_a_time(tmp_path):
    inside, most = 0, 0
    guard = threading.Lock()

    def work():
        nonlocal inside, most
        for _ in range(20):
            with locked_directory(tmp_path):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert os.listdir(tmp_path) == []


def test_small_files_are_read_up_to_their_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_limited(path, 5, "it") == b"12345"
    with pytest.raises(TooLargeError):
        read_limited(path, 4, "it")


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_attack_special_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(StoreError, match="is not a regular file"):
        read_limited(path, 5, "it")
