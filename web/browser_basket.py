"""The basket of the browser that asks: reading it, and changing what is in it. Its content is with the registry."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import Response

from registry.baskets import new_basket_id
from registry.service import Registry
from web.basket import Contents, dump, load
from web.basket_cookie import give_cookie, read_cookie
from web.deps import RegistryDep, SettingsDep
from web.settings import Settings
from web.visitors import client_digest


class BrowserBasket:
    """The basket of the browser that asks. A new one has an id only once something is put into it."""

    def __init__(self, request: Request, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._client = client_digest(request, settings)
        self._id, _ = read_cookie(request, settings)

    def read(self) -> Contents:
        """What is in it."""
        return load(self._registry.baskets.read(self._id) if self._id else None)

    def change(self, make: Callable[[Contents], Contents]) -> Contents:
        """Put what `make` makes of it in its place; what that is. What `make` raises passes, and nothing changes."""
        changed = Contents()

        def apply(held: bytes | None) -> bytes:
            nonlocal changed
            changed = make(load(held))
            return dump(changed)

        self._id = self._id or new_basket_id()
        self._registry.baskets.change(self._id, apply, client=self._client)
        return changed

    def give(self, response: Response, n_works: int) -> None:
        """Give the browser its cookie."""
        give_cookie(response, self._settings, self._id, n_works)


def get_basket(request: Request, registry: RegistryDep, settings: SettingsDep) -> BrowserBasket:
    """The basket of the browser that asks."""
    return BrowserBasket(request, registry, settings)


BasketDep = Annotated[BrowserBasket, Depends(get_basket)]
