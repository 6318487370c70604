"""The commit that a server runs is read from its checkout, without git."""

from __future__ import annotations

from server.common.version import revision

DIGEST = "0123456789abcdef0123456789abcdef01234567"


def checkout(folder, head, **files):
    """A folder with `.git/HEAD` and other files of `.git`, their names with _ for /."""
    (folder / ".git" / "refs" / "heads").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text(f"{head}\n")
    for name, text in files.items():
        (folder / ".git" / name.replace("__", "-").replace("_", "/")).write_text(f"{text}\n")
    return folder


def test_the_commit_of_a_branch_is_found(tmp_path):
    folder = checkout(tmp_path, "ref: refs/heads/main", refs_heads_main=DIGEST)
    assert revision(folder) == DIGEST[:12]


def test_the_commit_of_a_branch_that_git_has_packed_is_found(tmp_path):
    packed = f"# pack-refs with: peeled\n{'f' * 40} refs/heads/other\n{DIGEST} refs/heads/main"
    folder = checkout(tmp_path, "ref: refs/heads/main", packed__refs=packed)
    assert revision(folder) == DIGEST[:12]


def test_the_commit_of_a_checkout_without_a_branch_is_found(tmp_path):
    assert revision(checkout(tmp_path, DIGEST)) == DIGEST[:12]


def test_a_program_that_is_in_no_checkout_has_no_commit(tmp_path):
    assert revision(tmp_path) == ""
    assert revision(checkout(tmp_path, "ref: refs/heads/gone")) == ""
