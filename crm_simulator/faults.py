"""The faults of the CRM, in its two shapes: of the front end (session, rate), and of the object manager (data)."""

from __future__ import annotations

from xml.sax.saxutils import escape

ENVELOPE_NAMESPACE = "http://schemas.xmlsoap.org/soap/envelope/"
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"

_MESSAGES = {
    "SBL-ODU-01005": "The maximum rate of requests was exceeded.",
    "SBL-ODU-01006": "An internal error occurred within the web service: RIP_WAIT_ERROR_TIMEOUT",
    "SBL-ODU-01008": "The request is not a well-formed SOAP message.",
    "SBL-ODU-01011": "The requested service is not available to this user.",
    "SBL-SBL-70172": "The allotment of web service operations of your company has been reached.",
    "SBL-DAT-00407": "Unable to count the rows of a forward only cursor.",
    "SBL-DAT-00553": "Access denied.",
    "SBL-DBC-00112": "An error has occurred executing a SQL statement.",
}


class SoapFault(Exception):  # noqa: N818 - the protocol's word
    """Any fault; ``xml`` is the whole answer."""

    @property
    def xml(self) -> str:
        raise NotImplementedError


class FrontEndFault(SoapFault):
    """Shape A. ``wait_ms`` says how long to wait before the next request."""

    def __init__(self, code: str, message: str = "", wait_ms: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message or _MESSAGES.get(code, "The request could not be processed.")
        self.wait_ms = wait_ms

    @property
    def xml(self) -> str:
        wait = "" if self.wait_ms is None else f"<RequestWait>{self.wait_ms}</RequestWait>"
        message = escape(self.message)
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="{ENVELOPE_NAMESPACE}"><soap:Body>'
            f"<soap:Fault><faultcode>soap:Server</faultcode><faultstring>{message}</faultstring><detail>"
            f"<ErrorCode>{self.code}</ErrorCode><ErrorMessage>{message}</ErrorMessage>{wait}</detail></soap:Fault>"
            "</soap:Body></soap:Envelope>"
        )


class ObjectFault(SoapFault):
    """Shape B. ``errors`` are (code, message), the innermost first; the fault string names them all."""

    def __init__(self, *errors: tuple[str, str]) -> None:
        super().__init__(errors[0][0])
        self.errors = errors

    @property
    def xml(self) -> str:
        summary = escape(" ".join(f"{message}({code})" for code, message in self.errors))
        stack = "".join(
            f"<siebelf:error><siebelf:errorcode>({code})</siebelf:errorcode><siebelf:errorsymbol/>"
            f"<siebelf:errormsg>{escape(message)}({code})</siebelf:errormsg></siebelf:error>"
            for code, message in self.errors
        )
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="{ENVELOPE_NAMESPACE}">'
            f"<SOAP-ENV:Body><SOAP-ENV:Fault><faultcode>SOAP-ENV:Server</faultcode>"
            f"<faultstring>{summary}</faultstring><detail>"
            '<siebelf:siebdetail xmlns:siebelf="http://www.siebel.com/ws/fault">'
            "<siebelf:logfilename>OnDemandServicesObjMgr_simulator.log</siebelf:logfilename>"
            f"<siebelf:errorstack>{stack}</siebelf:errorstack></siebelf:siebdetail></detail>"
            "</SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>"
        )


class SecurityFault(SoapFault):
    """A missing or rejected token."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message

    @property
    def xml(self) -> str:
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="{ENVELOPE_NAMESPACE}"><soap:Body>'
            f'<soap:Fault><faultcode xmlns:wsse="{_WSSE}">wsse:{self.code}</faultcode>'
            f"<faultstring>{escape(self.message)}</faultstring></soap:Fault></soap:Body></soap:Envelope>"
        )


def scripted(code: str) -> SoapFault:
    """A fault with this code in the shape it usually has."""
    if code == "FailedAuthentication":
        return rejected_token()
    if code.startswith(("SBL-ODU", "SBL-SBL")):
        return FrontEndFault(code, wait_ms=50 if code == "SBL-ODU-01005" else None)
    inner = (code, _MESSAGES.get(code, "The request could not be processed."))
    return ObjectFault(inner) if code == "SBL-EAI-04376" else wrapped("the requested object", *inner)


def wrapped(component: str, code: str, message: str) -> ObjectFault:
    """A data fault inside the generic "method returned the following error"."""
    outer = f"Method 'Execute' of business component '{component}' returned the following error: {message}"
    return ObjectFault((code, message), ("SBL-EAI-04376", outer))


def unknown_element(name: str, component: str) -> ObjectFault:
    return ObjectFault(
        ("SBL-EAI-04127", f"The tag '{name}' is not known in the integration component '{component}'"),
        ("SBL-EAI-04316", f"The element '{name}' of the request cannot be processed"),
    )


def malformed(reason: str) -> FrontEndFault:
    return FrontEndFault("SBL-ODU-01008", f"The request is not valid: {reason}")


def rejected_token() -> SecurityFault:
    return SecurityFault("FailedAuthentication", "The security token could not be authenticated or authorized")
