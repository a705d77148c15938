"""States of the corpus's users, computed once, so that a request of a user without news costs no forward pass."""

from safetensors.numpy import load, save

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError
from llm4rec.schema import FloatMatrix

FILE, NAME = "user_states.safetensors", "states"


def write_states(writer: ArtifactWriter, states: FloatMatrix) -> None:
    """Write h_u by user code, shape (U, D), as a file of an artifact; U may be 0 where none were computed."""
    writer.write_bytes(FILE, save({NAME: states}))


def read_states(artifact: Artifact, num_users: int) -> FloatMatrix:
    """Read what `write_states` wrote, shape (U, D), where U is `num_users` or 0.

    Raises:
        ArtifactError: an older version wrote the artifact, or it is of another corpus.
    """
    if FILE not in artifact.manifest["files"]:
        raise ArtifactError(f"{artifact.path} was made by an older version; run {artifact.job} again")
    states: FloatMatrix = load(artifact.read_bytes(FILE))[NAME]
    if len(states) not in (0, num_users):
        raise ArtifactError(
            f"{artifact.path} has states of {len(states)} users for {num_users}; run {artifact.job} again"
        )
    return states
