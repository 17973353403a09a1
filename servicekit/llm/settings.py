"""The settings by which a stage finds its model server."""

from __future__ import annotations

from pydantic import SecretStr

from servicekit.llm.capabilities import Provider
from servicekit.llm.client import ModelClient, Observer
from servicekit.settings import ServiceSettings, SettingsError


class ModelServerSettings(ServiceSettings):
    """Address and key of each provider."""

    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: str = "https://api.openai.com/v1"
    offline_model_url: str = "http://127.0.0.1:50080/v1"


def model_client(
    settings: ModelServerSettings, provider: Provider, variable: str, observe: Observer | None = None
) -> ModelClient | None:
    """The client for a provider; None for `none`. `variable` is the setting that chose it.

    Raises SettingsError naming what to set when provider openai has no key: the offline model is never fallen into.
    """
    if provider is Provider.NONE:
        return None
    if provider is Provider.OFFLINE:
        return ModelClient(provider, settings.offline_model_url, "", observe)
    key = settings.openai_api_key.get_secret_value()
    if not key:
        raise SettingsError(
            f"OPENAI_API_KEY: is not set, and {variable} is openai. Set OPENAI_API_KEY to a real key, "
            f"or set {variable}=offline for the hand-written sample lessons."
        )
    return ModelClient(provider, settings.openai_base_url, key, observe)
