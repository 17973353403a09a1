"""A stage's settings for its model server."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, ValidationInfo, field_validator, model_validator

from servicekit.llm.calls import Observer
from servicekit.llm.capabilities import Provider, base_url_variable, key_variable, preset
from servicekit.llm.proxies import ProxyError, proxy_for
from servicekit.settings import ServiceSettings, SettingsError

if TYPE_CHECKING:
    from servicekit.llm.client import ModelClient


def _sendable(secret: SecretStr) -> SecretStr:
    """The key without surrounding white space. Raises ValueError for a key that no HTTP header can hold."""
    key = secret.get_secret_value().strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("has a character that no HTTP header can hold; copy the key anew")
    return SecretStr(key)


Key = Annotated[SecretStr, AfterValidator(_sendable)]
KEYED = (Provider.OPENAI, Provider.GEMINI, Provider.LLAMACPP, Provider.VLLM)
"""The providers that take a key."""
_ADDRESSED = (*KEYED, Provider.OLLAMA)
MAX_KEY_BYTES = 4096
"""A key has some hundred characters at the most."""


def address_problem(url: str) -> str:
    """What is wrong with the base URL of a model server; empty: nothing."""
    if not url.isascii() or not url.isprintable() or any(character in url for character in " \"'<>\\^`{|}"):
        return "holds white space, a quote or another character that no address has; set it without quotes"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no http or https address"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "is no http or https address, such as https://api.openai.com/v1"
    if "@" in parts.netloc:
        return "holds a user name or a password; set the key in the provider's _API_KEY"
    return "has a query or a fragment, which no path can follow" if "?" in url or "#" in url else ""


class ModelServerSettings(ServiceSettings):
    """Address and key of each provider. An empty address means the preset's (models.toml).

    A key is a value or, in `*_API_KEY_FILE`, the path of a file that holds it; an empty file is no key.
    """

    openai_api_key: Key = SecretStr("")
    openai_api_key_file: str = ""
    openai_base_url: str = preset(Provider.OPENAI).base_url
    gemini_api_key: Key = SecretStr("")
    gemini_api_key_file: str = ""
    gemini_base_url: str = preset(Provider.GEMINI).base_url
    ollama_base_url: str = preset(Provider.OLLAMA).base_url
    llamacpp_api_key: Key = SecretStr("")
    llamacpp_api_key_file: str = ""
    llamacpp_base_url: str = preset(Provider.LLAMACPP).base_url
    vllm_api_key: Key = SecretStr("")
    vllm_api_key_file: str = ""
    vllm_base_url: str = preset(Provider.VLLM).base_url
    offline_model_url: str = preset(Provider.OFFLINE).base_url
    stage_allow_plaintext: bool = False
    """Whether the stage may listen beyond loopback without TLS though its provider is paid."""
    ai_service_tier: Literal["", "flex"] = ""
    """Asked of the models that have it; empty: the standard tier."""
    otel_instrumentation_genai_capture_message_content: bool = False
    """Whether traces hold prompts and answers."""

    @field_validator(*(base_url_variable(one).lower() for one in _ADDRESSED), "offline_model_url", mode="before")
    @classmethod
    def _blank_is_unset(cls, given: object, info: ValidationInfo) -> object:
        blank = isinstance(given, str) and not given.strip()
        return cls.model_fields[info.field_name or ""].default if blank else given

    @field_validator(*(base_url_variable(one).lower() for one in _ADDRESSED), "offline_model_url")
    @classmethod
    def _address_is_usable(cls, url: str) -> str:
        url = url.strip(" \t\r\n")
        if problem := address_problem(url):
            raise ValueError(problem)
        return url

    @model_validator(mode="after")
    def _keys_are_readable(self) -> Self:
        for provider in KEYED:
            name = key_variable(provider)
            if getattr(self, f"{name.lower()}_file") and getattr(self, name.lower()).get_secret_value():
                raise ValueError(f"{name} and {name}_FILE are both set: set one of them.")
            self.key(provider)
        return self

    def address(self, provider: Provider) -> str:
        """The provider's base URL."""
        url: str = self.offline_model_url if provider is Provider.OFFLINE else getattr(self, f"{provider}_base_url")
        return url

    def key(self, provider: Provider) -> str:
        """The provider's key; empty when it has none. Raises ValueError for a file that cannot be read."""
        if provider not in KEYED:
            return ""
        key: SecretStr = getattr(self, f"{provider}_api_key")
        path: str = getattr(self, f"{provider}_api_key_file")
        return _key_in(Path(path), f"{key_variable(provider)}_FILE") if path else key.get_secret_value()


def _key_in(path: Path, variable: str) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_KEY_BYTES + 1)
        if len(text) > MAX_KEY_BYTES:
            raise ValueError(f"{variable}: {path} is no file with a key alone.")
        key = text.decode()
    except OSError as error:
        raise ValueError(f"{variable}: cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{variable}: {path} holds no text.") from error
    try:
        return _sendable(SecretStr(key)).get_secret_value()
    except ValueError as error:
        raise ValueError(f"{variable}: the key in {path} {error}.") from error


def _check_exposure(settings: ModelServerSettings, provider: Provider) -> None:
    """Raises SettingsError for a stage whose paid model everyone in the network could use."""
    open_port = not settings.binds_loopback and not settings.tls_cert_file
    if preset(provider).key == "yes" and open_port and not settings.stage_allow_plaintext:
        raise SettingsError(
            f"BIND: is {settings.bind} without TLS, so whoever reaches this stage can spend your money at {provider}: "
            "set TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE, or STAGE_ALLOW_PLAINTEXT=true in a network of your own."
        )


def _check_authorities() -> None:
    """Raises SettingsError for an SSL_CERT_FILE or SSL_CERT_DIR that OpenSSL would ignore in silence."""
    file, folder = os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", "")
    if folder and not any(Path(one).is_dir() for one in folder.split(os.pathsep)):
        raise SettingsError(f"SSL_CERT_DIR: {folder} is no folder of certificates.")
    if file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except ssl.SSLError as error:
            raise SettingsError(f"SSL_CERT_FILE: {file} has no certificate in PEM form.") from error
        except OSError as error:
            raise SettingsError(f"SSL_CERT_FILE: cannot read {file}: {error.strerror or error}.") from error


def model_client(
    settings: ModelServerSettings, provider: Provider, variable: str, observe: Observer | None = None
) -> ModelClient | None:
    """The client for a provider; None for `none`. `variable` is the setting that chose the provider.

    Raises SettingsError when the provider needs a key and has none, and for a proxy or certificates that cannot be
    used. The offline model is never a silent fallback.
    """
    if provider is Provider.NONE:
        return None
    _check_exposure(settings, provider)
    _check_authorities()
    try:
        proxy_for(settings.address(provider))
    except ProxyError as error:
        raise SettingsError(f"{error}.") from error
    key = settings.key(provider)
    if preset(provider).key == "yes" and not key:
        name = key_variable(provider)
        raise SettingsError(
            f"{name}: is not set, and {variable} is {provider}. Set {name} to a real key, or {name}_FILE to its file, "
            f"or set {variable}=offline for the built-in lessons."
        )
    # The HTTP library takes long to import: refused settings, `nidan doctor` and an enhancer without a model need none.
    from servicekit.llm.client import ModelClient  # noqa: PLC0415

    return ModelClient(provider, settings.address(provider), key, observe, service_tier=settings.ai_service_tier)
