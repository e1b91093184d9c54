"""The pages of django_site.py. Django imports it by its name, once it is configured."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import JsonResponse
from django.urls import path

received: list[str] = []
logins: list[str] = []


@login_required  # type: ignore[untyped-decorator]
def orders(request: Any) -> Any:
    """Whose session it is."""
    received.append(request.method)
    return JsonResponse({"user": request.user.get_username(), "cookies": sorted(request.COOKIES)})


class _Login(LoginView):  # type: ignore[misc]
    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        logins.append(request.method)
        return super().dispatch(request, *args, **kwargs)


urlpatterns = [path("orders", orders), path("accounts/login/", _Login.as_view())]
