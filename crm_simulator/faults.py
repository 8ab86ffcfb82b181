"""The faults of the CRM, in its two shapes: of the front end (session, rate), and of the object manager (data)."""

from __future__ import annotations

from xml.sax.saxutils import escape

ENVELOPE_NAMESPACE = "http://schemas.xmlsoap.org/soap/envelope/"
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"


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
        self.message = message or "The request could not be processed."
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


class PlainFault(SoapFault):
    """A fault code and a text, nothing else. ``code`` has its prefix: ``soap:Server``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message

    @property
    def xml(self) -> str:
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="{ENVELOPE_NAMESPACE}"><soap:Body>'
            f'<soap:Fault><faultcode xmlns:wsse="{_WSSE}">{self.code}</faultcode>'
            f"<faultstring>{escape(self.message)}</faultstring></soap:Fault></soap:Body></soap:Envelope>"
        )


class SecurityFault(PlainFault):
    """A missing or rejected token."""


def wrapped(component: str, code: str, message: str) -> ObjectFault:
    """A data fault inside the generic "method returned the following error"."""
    outer = f"Method 'Execute' of business component '{component}' returned the following error: {message}"
    return ObjectFault((code, message), ("SBL-EAI-04376", outer))


def unknown_element(name: str, component: str) -> ObjectFault:
    return ObjectFault(
        ("SBL-EAI-04127", f"The tag '{name}' is not known in the integration component '{component}'"),
        ("SBL-EAI-04316", f"The element '{name}' of the request cannot be processed"),
    )


def allotment_reached(name: str, value: int) -> FrontEndFault:
    return FrontEndFault("SBL-SBL-70172", f"The Web Services {name} Allotment of {value} has been reached.")


def too_fast(wait_ms: int) -> FrontEndFault:
    message = f"The maximum rate of requests was exceeded. Please try again in {wait_ms} ms"
    return FrontEndFault("SBL-ODU-01005", message, wait_ms)


def access_denied(component: str) -> ObjectFault:
    return wrapped(component, "SBL-DAT-00553", "Access denied.")


def unavailable(service: str) -> FrontEndFault:
    return FrontEndFault("SBL-ODU-01011", f"The service of {service} is not available to this user")


def malformed(reason: str) -> FrontEndFault:
    return FrontEndFault("SBL-ODU-01008", f"The request is not valid: {reason}")


def missing_token() -> SecurityFault:
    return SecurityFault("wsse:InvalidSecurity", "Missing wsse:Security tag in the request")


def rejected_token() -> SecurityFault:
    return SecurityFault("wsse:FailedAuthentication", "The security token could not be authenticated or authorized")
