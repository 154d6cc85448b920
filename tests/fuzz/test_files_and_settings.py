"""Whatever a merchant's file or an environment says: a value or a fault that can be mended, and no secret shown."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import claims, inputs

FEW = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
SECRETS = (inputs.CONSOLE_SECRET, inputs.DATABASE_PASSWORD)


@FEW
@given(inputs.csv_files())
def test_every_file_is_plans_or_faults_that_name_their_place(raw: bytes) -> None:
    claims.file_is_read_safely(raw)


@FEW
@given(st.binary(max_size=300))
def test_no_bytes_raise_where_a_file_is_wanted(raw: bytes) -> None:
    claims.file_is_read_safely(raw)


@FEW
@given(inputs.ENVIRONMENTS)
def test_every_environment_is_settings_or_problems_that_name_the_variable(environ: dict[str, str]) -> None:
    claims.environment_is_read_safely(environ, SECRETS)
