"""A stage's settings for its model server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, SecretStr

from servicekit.llm.calls import Observer
from servicekit.llm.capabilities import Provider, key_variable, preset
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


class ModelServerSettings(ServiceSettings):
    """Address and key of each provider. An empty address means the preset's (models.toml)."""

    openai_api_key: Key = SecretStr("")
    openai_base_url: str = preset(Provider.OPENAI).base_url
    gemini_api_key: Key = SecretStr("")
    gemini_base_url: str = preset(Provider.GEMINI).base_url
    ollama_base_url: str = preset(Provider.OLLAMA).base_url
    llamacpp_api_key: Key = SecretStr("")
    llamacpp_base_url: str = preset(Provider.LLAMACPP).base_url
    vllm_api_key: Key = SecretStr("")
    vllm_base_url: str = preset(Provider.VLLM).base_url
    offline_model_url: str = preset(Provider.OFFLINE).base_url
    ai_service_tier: Literal["", "flex"] = ""
    """Asked of the models that have it; empty: the standard tier."""
    otel_instrumentation_genai_capture_message_content: bool = False
    """Whether traces hold prompts and answers."""

    def address(self, provider: Provider) -> str:
        """The provider's base URL."""
        url: str = self.offline_model_url if provider is Provider.OFFLINE else getattr(self, f"{provider}_base_url")
        return url

    def key(self, provider: Provider) -> str:
        """The provider's key; empty when it has none."""
        key: SecretStr = getattr(self, f"{provider}_api_key", SecretStr(""))
        return key.get_secret_value()


def model_client(
    settings: ModelServerSettings, provider: Provider, variable: str, observe: Observer | None = None
) -> ModelClient | None:
    """The client for a provider; None for `none`. `variable` is the setting that chose the provider.

    Raises SettingsError when the provider needs a key and has none. The offline model is never a silent fallback.
    """
    if provider is Provider.NONE:
        return None
    key = settings.key(provider)
    if preset(provider).key == "yes" and not key:
        name = key_variable(provider)
        raise SettingsError(
            f"{name}: is not set, and {variable} is {provider}. Set {name} to a real key, "
            f"or set {variable}=offline for the built-in lessons."
        )
    # The SDK takes 700 ms to import: refused settings, `nidan doctor` and an enhancer without a model do without it.
    from servicekit.llm.client import ModelClient  # noqa: PLC0415

    return ModelClient(provider, settings.address(provider), key, observe, service_tier=settings.ai_service_tier)
