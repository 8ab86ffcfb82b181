"""Every fault a client may meet, by code: its text, its shape, and what it is nested in. For faults by script."""

from __future__ import annotations

from collections.abc import Callable

from crm_simulator import faults
from crm_simulator.faults import FrontEndFault, ObjectFault, PlainFault, SoapFault

# A code that covers several conditions has several texts.
CASES = {
    "SBL-ODU-01006": {
        "timeout": "An internal error occurred within the web service: RIP_WAIT_ERROR_TIMEOUT",
        "session": "Session is not available. Please log in again.",
        "credentials": "The user ID or password that you entered is incorrect.",
        "pool": "oracle.crmod.IntegrationServletException: no session can be had from the pool",
    },
    "SBL-EAI-04376": {
        "generic": "The method could not be carried out",
        "timeout": "The request waited too long: RIP_WAIT_ERROR_TIMEOUT",
    },
    "SBL-SBL-70172": {
        "operations": "The Web Services Operations Allotment has been reached.",
        "concurrent": "The Web Services Concurrent Request Allotment has been reached.",
    },
}
# What a wrong password is answered with, by the user's language.
BAD_CREDENTIALS = {
    "ENU": CASES["SBL-ODU-01006"]["credentials"],
    "DEU": "Die eingegebene Benutzer-ID oder das Kennwort ist falsch.",
    "FRA": "L'ID utilisateur ou le mot de passe que vous avez entré est incorrect.",
    "ESN": "El ID de usuario o la contraseña que ha introducido no es correcto.",
    "ITA": "L'ID utente o la password immessa non è corretta.",
    "NLD": "De ingevoerde gebruikers-ID of het wachtwoord is onjuist.",
    "PTB": "O ID de usuário ou a senha informada está incorreta.",
    "JPN": "入力したユーザーIDまたはパスワードが正しくありません。",
    "CHS": "输入的用户 ID 或密码不正确。",
}
_FRONT_END = {
    "SBL-ODU-01007": "The request cannot be processed for this user.",
    "SBL-ODU-01008": "The request is not a well-formed SOAP message.",
    "SBL-ODU-01011": "The requested service is not available to this user.",
}
# Inside the generic "method returned the following error".
_WRAPPED = {
    "SBL-DAT-00553": "Access denied.",
    "SBL-DAT-00407": "Unable to count the rows of a forward only cursor.",
    "SBL-DBC-00112": "An error has occurred executing a SQL statement.",
    "SBL-EAI-04378": "No rows were found by the user key",
    "SBL-EAI-04403": "No data was returned for the request",
    "SBL-EAI-04421": "The delete operation is not permitted",
    "SBL-ODS-00336": "You may not delete this record",
    "SBL-DAT-00381": "A record with the same values exists already",
    "SBL-DAT-00382": "The same values for the key exist already",
    "SBL-EAI-04383": "An insert was tried for a record that exists",
    "SBL-DAT-00357": "A record like this exists already",
    "SBL-DAT-00498": "'Last Name' is a required field. Please enter a value for the field",
    "SBL-DAT-00510": "The value entered is not valid",
    "SBL-DAT-00225": "The value can only be one of the pick list",
    "SBL-DAT-00235": "The value is too long",
    "SBL-DAT-00521": "The value does not match the format",
    "SBL-ODS-50736": "The field validation rule was not met",
    "SBL-DAT-00542": "You do not have permission to change this record",
    "SBL-DAT-00278": "This record cannot be changed",
    "SBL-DAT-00279": "This field cannot be changed",
    "SBL-DAT-00284": "No records may be added here",
    "SBL-ODS-00446": "You may not change this field",
    "SBL-ODS-50085": "The pick list is not valid for this session's language",
    "SBL-ODS-50720": "The record type has no such pick list",
    "SBL-ODS-50731": "The field is not a pick list",
    "SBL-ODS-50735": "The pick list cannot be read",
}
_ALONE = {
    "SBL-EAI-04447": "The page size is more than 100",
    "SBL-EAI-04471": "The book does not exist, or may not be used by this user",
    "SBL-EAI-04397": "No user key can be used for the record",
    "SBL-SBL-00000": "No pick list was found",
}
_CHANGED = "The record was changed by another user"
_HICCUPS = {
    "SessionInvalidated": "java.lang.IllegalStateException: Session already invalidated",
    "NestedTimers": "Nested timers are not supported",
}
_NAMED: dict[str, Callable[[], SoapFault]] = {
    "FailedAuthentication": faults.rejected_token,
    "InvalidSecurity": faults.missing_token,
    "SBL-ODU-01005": lambda: faults.too_fast(250),
    "SBL-EAI-04316": lambda: faults.unknown_element("Nonsense", "the requested object"),
    "SBL-EAI-04127": lambda: faults.unknown_element("Nonsense", "the requested object"),
    "SBL-EAI-04401": lambda: ObjectFault(("SBL-DAT-00523", _CHANGED), ("SBL-EAI-04401", _CHANGED)),
    "SBL-DAT-00523": lambda: ObjectFault(("SBL-DAT-00523", _CHANGED), ("SBL-EAI-04401", _CHANGED)),
}
CODES = tuple(sorted({*_NAMED, *_HICCUPS, *CASES, *_FRONT_END, *_WRAPPED, *_ALONE}))


def scripted(code: str, case: str = "", language: str = "ENU") -> SoapFault:
    """A fault with this code as the CRM gives it; a code not in the table is wrapped as data faults are.

    ``case`` chooses among :data:`CASES`, where the first is the default, and ``language`` the words of refused
    credentials. Raises KeyError for unknown ones.
    """
    if code in _NAMED:
        return _NAMED[code]()
    if code in _HICCUPS:
        return PlainFault("soap:Server", _HICCUPS[code])
    if code in CASES:
        text = CASES[code][case or next(iter(CASES[code]))]
        if code == "SBL-EAI-04376":
            return ObjectFault((code, text))
        return FrontEndFault(code, BAD_CREDENTIALS[language] if case == "credentials" else text)
    if code in _ALONE:
        return ObjectFault((code, _ALONE[code]))
    if code.startswith("SBL-ODU"):
        return FrontEndFault(code, _FRONT_END.get(code, ""))
    return faults.wrapped("the requested object", code, _WRAPPED.get(code, "The request could not be processed"))
