"""Settings: the environment, read once into one frozen object.

Every setting is a field of :class:`Settings`; its environment variable is the field's name in
capitals. The table in ``docs/operations.md`` repeats these descriptions and a test compares them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from community_gql.settings.checks import (
    EXAMPLE_DOMAIN,
    EXAMPLE_URL,
    MIN_SECRET,
    database_address,
    issuer_address,
    listed,
    metrics_address,
    origin,
    proxies,
    redis_address,
    session_secrets,
    spaced,
    tenant_domain,
    unusable_proxies,
)
from community_gql.settings.identity import missing_identity


class OperatorError(Exception):
    """An error that the person who runs a command can correct; its text is all they need."""


class SettingsError(OperatorError):
    """One or more settings are missing or wrong; the text names each and says what to do."""


def home() -> Path:
    """Return the checkout this package runs from, or the working directory when installed."""
    checkout = Path(__file__).resolve().parents[3]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


class Settings(BaseSettings):
    """What the environment says, checked. Make one with :meth:`load`, then pass it along."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: Annotated[str, PlainValidator(database_address, json_schema_input_type=str)] = (
        Field(
            repr=False,
            description="The PostgreSQL database to serve, as "
            "`postgresql://user:password@host:5432/name`, or in another form that libpq takes "
            "([addresses](#addresses-of-the-database)). "
            "`serve` needs it. Without it the development commands use the embedded PostgreSQL.",
        )
    )
    database_read_url: Annotated[
        tuple[Annotated[str, PlainValidator(database_address)], ...],
        NoDecode,
        BeforeValidator(spaced),
    ] = Field(
        default=(),
        repr=False,
        description="Standbys of that database, separated by spaces. Queries are read from "
        "them, and everybody still sees their own writes (see `docs/scaling.md`).",
        json_schema_extra={"shown_default": ""},
    )
    database_pgbouncer: bool = Field(
        default=False,
        description="`true` when DATABASE_URL leads to PgBouncer in transaction mode. Prepared "
        "statements are then not kept between transactions.",
    )
    database_pgbouncer_prepared: bool = Field(
        default=False,
        description="`true` when that is PgBouncer 1.21 or newer with `max_prepared_statements` of "
        "200 or more. Prepared statements are then kept.",
    )
    database_pool_size: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="The most connections that each worker process opens.",
    )
    database_pool_timeout: float = Field(
        default=5,
        gt=0,
        le=600,
        description="Seconds that a request waits for a free connection before it fails.",
    )
    database_caller_share: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="The part of the connections that one person, or one signed-out address, may "
        "hold at once, rounded up.",
    )
    database_write_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The part of the connections that may write at once, rounded up. At least "
        "one is left for reading.",
    )
    lock_timeout: float = Field(
        default=5,
        ge=0.001,  # PostgreSQL counts milliseconds, and 0 is no timeout
        le=3600,
        description="Seconds that a statement waits for a row or table that someone else has "
        "locked.",
    )
    statement_timeout: float = Field(
        default=14,
        ge=0.001,  # the same
        le=3600,
        description="Seconds after which PostgreSQL cancels a statement; keep it below "
        "REQUEST_TIMEOUT.",
    )
    request_timeout: float = Field(
        default=15, gt=0, le=3600, description="Seconds after which a request is given up."
    )
    pushdown: Literal["on", "off", "always"] = Field(
        default="on",
        description="Whether queries are compiled to one SQL statement: `on` from the second "
        "request for the same query, `always` from the first (for tests), or `off`.",
    )
    matching: Literal["built-in", "features", "machine"] = Field(
        default="built-in",
        description="Who computes matches. `built-in`: `community-gql matching run` computes "
        "vectors and lists. `features`: a program sends the vectors, and `matching run` "
        "computes the lists. `machine`: a program sends both (see `docs/matching.md`).",
    )
    max_body_bytes: int = Field(
        default=256 * 1024,
        ge=1024,
        le=64 * 2**20,
        description="The longest request body, in bytes; a longer one gets 413.",
    )
    body_timeout: float = Field(
        default=10,
        gt=0,
        le=600,
        description="Seconds that a client may take to send a body; after that it gets 408.",
    )
    header_timeout: float = Field(
        default=10,
        gt=0,
        le=600,
        description="Seconds that a client may take to send the head of a request; after that "
        "it gets 408.",
    )
    max_connections: int = Field(
        default=2000,
        ge=1,
        le=100_000,
        description="The most client connections that each worker process keeps open; one more "
        "gets 503.",
    )
    max_connections_per_address: int = Field(
        default=200,
        ge=1,
        le=100_000,
        description="How many of them one address may hold (with IPv6, one /64). Addresses in "
        "TRUSTED_PROXIES may hold all.",
    )
    max_sockets: int = Field(
        default=10_000,
        ge=0,
        le=10**6,
        description="The most WebSockets and event streams of each worker process.",
    )
    max_sockets_per_person: int = Field(
        default=20, ge=1, le=100_000, description="How many of them one person may hold."
    )
    max_sockets_per_address: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="How many of them one signed-out address may hold.",
    )
    max_subscriptions: int = Field(
        default=50, ge=1, le=10_000, description="Operations that one WebSocket may carry at once."
    )
    idle_timeout: float = Field(
        default=75,
        gt=0,
        le=3600,
        description="Seconds that a connection is kept open between two requests. Set the proxy in "
        "front to a shorter time, or it may use a connection that is just being closed.",
    )
    live_interval: float = Field(
        default=0.1,
        ge=0.01,
        le=60,
        description="Seconds between two checks of a worker process for changes that its "
        "subscriptions follow. Without subscriptions it does not check.",
    )
    live_retention: float = Field(
        default=3600,
        ge=60,
        le=7 * 24 * 3600,
        description="Seconds for which changes are kept. A subscription that was cut off can go on "
        "within this time.",
    )
    drain_seconds: float = Field(
        default=5,
        ge=0,
        le=600,
        description="Seconds that `serve` goes on listening after SIGTERM, with `/readyz` at 503, "
        "so that the proxy in front sends new requests elsewhere.",
    )
    trusted_proxies: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(listed),
        AfterValidator(proxies),
    ] = Field(
        default=("127.0.0.1",),
        description="Addresses or networks of the proxies whose `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are trusted, separated by commas; `*` trusts everyone's.",
        json_schema_extra={"shown_default": "`127.0.0.1`"},
    )
    cost_limit: int = Field(
        default=100_000,
        ge=1,
        description="The most that an operation may cost (see `docs/http.md`).",
    )
    max_answer_bytes: int = Field(
        default=8 * 2**20,
        ge=1024,
        le=2**30,  # PostgreSQL writes no longer text
        description="The longest answer, in bytes; a longer one gets 422 `ANSWER_TOO_LARGE`.",
    )
    cost_per_minute: int = Field(
        default=1_200_000,
        ge=1,
        description="The cost that a person, or a signed-out address, may spend in a minute.",
    )
    redis_url: Annotated[str, AfterValidator(redis_address)] | None = Field(
        default=None,
        repr=False,
        description="A Redis that counts what callers spend, for several processes: "
        "`redis://host:6379/0`. Without it each process counts for itself.",
        json_schema_extra={"shown_default": ""},
    )
    introspection: Literal["everyone", "signed-in", "nobody"] = Field(
        default="signed-in",
        description="Who may introspect the schema, fetch `/schema.graphql` and see names of the "
        "schema in errors: `everyone`, `signed-in` or `nobody`. In `dev` the default is "
        "`everyone`.",
    )
    trusted_documents: Literal["off", "allow", "enforce"] = Field(
        default="off",
        description="`allow` also answers `documentId`; `enforce` answers only the documents of "
        "the manifests (see `docs/http.md`).",
    )
    trusted_documents_files: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(listed)] = Field(
        default=(),
        description="The manifests of trusted documents, separated by commas.",
        json_schema_extra={"shown_default": ""},
    )
    persisted_queries: Literal["on", "off"] = Field(
        default="on",
        description="Whether a document that was sent once can then be asked for by its "
        "SHA-256, as Apollo and urql do (see `docs/http.md`). Always off with "
        "`TRUSTED_DOCUMENTS=enforce`.",
    )
    document_cache_bytes: int = Field(
        default=8 * 2**20,
        ge=0,
        description="Bytes of memory for documents that were parsed and validated, in each "
        "process.",
    )
    hot_documents: int = Field(
        default=200,
        ge=0,
        le=1000,
        description="How many of the most used documents are kept in the database, without "
        "anybody's values. A process that starts compiles them. `0`: none.",
    )
    cors_origins: Annotated[
        tuple[Annotated[str, AfterValidator(origin)], ...], NoDecode, BeforeValidator(listed)
    ] = Field(
        default=(),
        description="Origins whose pages may call the API from a browser, separated by commas: "
        "`https://app.example.com`. Without it CORS is off.",
        json_schema_extra={"shown_default": ""},
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="The address to listen on; `0.0.0.0` in a container.",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="The TCP port to listen on.")
    workers: int = Field(
        default=1, ge=1, le=256, description="Worker processes of `serve`; about one per core."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least severe log line to write: `debug`, `info`, `warning` or `error`.",
    )
    metrics: Annotated[
        tuple[str, int] | None,
        NoDecode,
        PlainValidator(metrics_address, json_schema_input_type=str),
    ] = Field(
        default=None,
        description="Where `serve` shows `/metrics` to Prometheus, such as `127.0.0.1:9464`. It "
        "is a separate address, which the public must not reach. Without it nothing is counted.",
        json_schema_extra={"shown_default": ""},
    )
    tracing: Literal["off", "on"] = Field(
        default="off",
        description="`on` sends traces to the OpenTelemetry collector that "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` names; it needs the extra `otel`.",
    )
    auth0_domain: Annotated[
        str | None, PlainValidator(tenant_domain, json_schema_input_type=str)
    ] = Field(
        default=None,
        description="The domain of the Auth0 tenant whose access tokens are accepted, such as "
        f"`{EXAMPLE_DOMAIN}`. `serve` needs it, unless OIDC_ISSUER is set. docs/identity.md "
        "shows where to find it.",
        json_schema_extra={"shown_default": ""},
    )
    auth0_audience: str | None = Field(
        default=None,
        description="The identifier of the API in Auth0, such as `https://api.example.com`: the "
        "`aud` of its access tokens. `serve` needs it.",
        json_schema_extra={"shown_default": ""},
    )
    oidc_issuer: Annotated[
        str | None, PlainValidator(issuer_address, json_schema_input_type=str)
    ] = Field(
        default=None,
        description="The exact issuer address of another OpenID provider, instead of "
        "AUTH0_DOMAIN. It must be https, except on this machine.",
        json_schema_extra={"shown_default": ""},
    )
    auth0_client_id: str | None = Field(
        default=None,
        description="The client id of the Regular Web Application in Auth0, for signing in with a "
        "browser at `/auth/login`. Set it together with AUTH0_CLIENT_SECRET and "
        "SESSION_SECRET, or set none of the three.",
        json_schema_extra={"shown_default": ""},
    )
    auth0_client_secret: str | None = Field(
        default=None,
        repr=False,
        description="The client secret of that application.",
        json_schema_extra={"shown_default": ""},
    )
    session_secret: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(listed), AfterValidator(session_secrets)
    ] = Field(
        default=(),
        repr=False,
        description=f"The key that encrypts session cookies: {MIN_SECRET} characters or more, the "
        "same in all processes. It may be several keys, separated by commas: the first one "
        "encrypts and all decrypt, so it can be changed without ending sessions.",
        json_schema_extra={"shown_default": ""},
    )
    email_claim: str = Field(
        default="https://community-gql/email",
        min_length=1,
        description="The claim of the access token that holds the person's e-mail address.",
    )
    data_dir: Path = Field(
        default_factory=lambda: home() / ".data",
        description="Development only: the folder of the embedded PostgreSQL and the keys of the "
        "development issuer. Run as root, PostgreSQL's data is under `/var/lib/community-gql` "
        "instead.",
        json_schema_extra={"shown_default": ".data in the checkout"},
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the arguments of :meth:`load` and then the environment; no files."""
        return init_settings, Environment(settings_cls)

    @classmethod
    def load(cls, **given: object) -> Self:
        """Read the environment; values in ``given`` that are not None take precedence.

        Raises :class:`SettingsError`, which names every setting that is missing or wrong, and
        every proxy in the environment that cannot be used.
        """
        values: dict[str, Any] = {key: item for key, item in given.items() if item is not None}
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise SettingsError(explain(error)) from None
        if settings.statement_timeout >= settings.request_timeout:
            raise SettingsError(
                f"STATEMENT_TIMEOUT ({settings.statement_timeout:g} s) must be below "
                f"REQUEST_TIMEOUT ({settings.request_timeout:g} s), or a request ends while its "
                "statement still runs in the database."
            )
        return settings

    @property
    def issuer(self) -> str | None:
        """The ``iss`` of the access tokens to accept; Auth0's ends in a slash."""
        if self.oidc_issuer:
            return self.oidc_issuer
        return f"https://{self.auth0_domain}/" if self.auth0_domain else None

    @classmethod
    def load_to_serve(cls, **given: object) -> Self:
        """Like :meth:`load`, for ``serve``, which also needs the settings of identity.

        Raises :class:`SettingsError`, which names every setting that is missing or wrong.
        """
        found, settings = [], None
        try:
            settings = cls.load(**given)
        except SettingsError as error:
            found.append(str(error))
        if settings is not None and settings.cost_limit > settings.cost_per_minute:
            found.append(
                f"COST_LIMIT ({settings.cost_limit:,}) must not be above COST_PER_MINUTE "
                f"({settings.cost_per_minute:,}): an operation that costs more than the budget "
                "of a minute could never run."
            )
        if missing := missing_identity(lambda name: is_set(name) or bool(given.get(name))):
            found += [*missing, "docs/identity.md shows step by step where they come from."]
        found += unusable_proxies()
        if settings is None or found:
            raise SettingsError("\n".join(found))
        return settings

    @property
    def signs_in(self) -> bool:
        """Whether people can sign in with a browser."""
        return bool(self.auth0_client_id and self.auth0_client_secret and self.session_secret)


class Environment(EnvSettingsSource):
    """The environment; values such as LOG_LEVEL=INFO are read in any case."""

    def prepare_field_value(
        self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool
    ) -> Any:
        """Strip and, for the log level, lower the text before pydantic sees it."""
        if isinstance(value, str):
            value = value.strip()
            if field_name in ("log_level", "pushdown", "matching"):
                value = value.lower()
        return super().prepare_field_value(field_name, field, value, value_is_complex)


def is_set(name: str) -> bool:
    """Tell whether the environment has this setting (an empty value counts as absent)."""
    return any(key.lower() == name and item.strip() for key, item in os.environ.items())


def database_url_is_set() -> bool:
    """Tell whether the environment names a database."""
    return is_set("database_url")


def explain(error: ValidationError) -> str:
    """Turn pydantic's findings into one line per setting, without the value of any secret."""
    lines = []
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0])
        field = Settings.model_fields[name]
        if problem["type"] == "missing":
            purpose = (field.description or "").split(", as ")[0].rstrip(".")
            lines.append(f"{name.upper()} is not set. {purpose}: {name.upper()}={EXAMPLE_URL}")
            continue
        if problem["type"] == "value_error":
            reason = str(problem["ctx"]["error"])
        else:
            text = problem["msg"].removeprefix("Input should be ").partition(", unable")[0]
            text = text.replace("a valid integer", "a whole number").replace("a valid ", "a ")
            reason = f"{problem['input']!r} given, but it must be {text}"
        lines.append(f"{name.upper()} is wrong: {reason}.")
    return "\n".join(lines)
