"""The error tree. Each error class owns its gRPC status, its reason, whether a retry can help, and whose fault it is.

    ServiceError                 INTERNAL              INTERNAL
    ├── InvalidRequestError      INVALID_ARGUMENT      INVALID_REQUEST       caller; names each field
    ├── UnauthenticatedError     UNAUTHENTICATED       UNAUTHENTICATED       caller; no valid key
    ├── ForbiddenError           PERMISSION_DENIED     FORBIDDEN             caller; known, but without the right
    ├── UnknownResourceError     NOT_FOUND             UNKNOWN_RESOURCE      caller
    ├── UnsupportedError         UNIMPLEMENTED         UNSUPPORTED           caller
    ├── MisconfiguredError       FAILED_PRECONDITION   MISCONFIGURED         service; an operator must act
    ├── OverloadedError          RESOURCE_EXHAUSTED    OVERLOADED            service; says when to try again
    │   └── QuotaError           RESOURCE_EXHAUSTED    QUOTA_EXCEEDED        service; names the limit
    ├── DeadlineError            DEADLINE_EXCEEDED     DEADLINE_EXCEEDED     service
    └── UpstreamError            UNAVAILABLE           UPSTREAM_UNAVAILABLE  upstream

Services derive their own errors from these. `servicekit.interceptors` turns an error into google.rpc.Status, and
`read_error` reads it back on the client side. Details stay under 4 KB: above 8 KiB gRPC drops calls at random.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "nidan"
MAX_DETAIL_BYTES = 4000
_MESSAGE_CHARACTERS = 600
_VIOLATION_CHARACTERS = 200

Fault = Literal["caller", "model", "upstream", "service"]


@dataclass(frozen=True)
class FieldViolation:
    """A field of a request that is wrong: its path, and what a right value looks like."""

    field: str
    description: str


class ServiceError(Exception):
    """Ends an RPC with a status other than OK."""

    status: grpc.StatusCode = grpc.StatusCode.INTERNAL
    reason: str = "INTERNAL"
    retryable: bool = False
    fault: Fault = "service"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retryable: bool | None = None,
        fault: Fault | None = None,
        retry_after_seconds: float | None = None,
        violations: Iterable[FieldViolation] = (),
        stage: str = "",
        lesson_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.retryable = type(self).retryable if retryable is None else retryable
        self.fault = fault or type(self).fault
        self.retry_after_seconds = retry_after_seconds
        self.violations = tuple(violations)
        self.stage = stage
        self.lesson_id = lesson_id


class InvalidRequestError(ServiceError):
    """The request is wrong. The same request fails every time."""

    status = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"
    fault: Fault = "caller"


class UnauthenticatedError(ServiceError):
    """The caller has no key, or one that is not valid."""

    status = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    fault: Fault = "caller"


class ForbiddenError(ServiceError):
    """The caller is known and may not do this."""

    status = grpc.StatusCode.PERMISSION_DENIED
    reason = "FORBIDDEN"
    fault: Fault = "caller"


class UnknownResourceError(ServiceError):
    """The request names something that does not exist here."""

    status = grpc.StatusCode.NOT_FOUND
    reason = "UNKNOWN_RESOURCE"
    fault: Fault = "caller"


class UnsupportedError(ServiceError):
    """This deployment does not serve the request."""

    status = grpc.StatusCode.UNIMPLEMENTED
    reason = "UNSUPPORTED"
    fault: Fault = "caller"


class MisconfiguredError(ServiceError):
    """No request succeeds until an operator changes the configuration."""

    status = grpc.StatusCode.FAILED_PRECONDITION
    reason = "MISCONFIGURED"


class OverloadedError(ServiceError):
    """The service is full for now and says when to try again."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    retryable = True


class QuotaError(OverloadedError):
    """The call exceeds a limit of money or use. The violations name the limit (google.rpc.QuotaFailure)."""

    reason = "QUOTA_EXCEEDED"
    retryable = False


class DeadlineError(ServiceError):
    """The deadline passed before the work was done."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    retryable = True


class UpstreamError(ServiceError):
    """A service or model that this service calls failed."""

    status = grpc.StatusCode.UNAVAILABLE
    reason = "UPSTREAM_UNAVAILABLE"
    retryable = True
    fault: Fault = "upstream"


def to_status(error: ServiceError) -> status_pb2.Status:
    """The error as google.rpc.Status of under 4 KB.

    Its details are ErrorInfo and, where they apply, RetryInfo and BadRequest or QuotaFailure.
    """
    details: list[any_pb2.Any] = [_pack(_error_info(error))]
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    status = status_pb2.Status(code=error.status.value[0], message=error.message[:_MESSAGE_CHARACTERS], details=details)
    if error.violations and isinstance(error, QuotaError):
        status.details.append(_pack(_quota_failure(error.violations)))
    elif error.violations:
        status.details.append(_pack(_bad_request(error.violations, MAX_DETAIL_BYTES - status.ByteSize())))
    return status


def to_rpc_status(error: ServiceError) -> grpc.Status:
    """The error in the form that `context.abort_with_status` takes."""
    return rpc_status.to_status(to_status(error))


@dataclass(frozen=True)
class RemoteError:
    """An error as the client received it. `reason` is empty when the status carried none of our details."""

    status: grpc.StatusCode
    message: str
    reason: str = ""
    retryable: bool = False
    fault: str = ""
    stage: str = ""
    lesson_id: str = ""
    retry_after_seconds: float | None = None
    violations: tuple[FieldViolation, ...] = ()


# Statuses worth a retry when they carry none of our details.
_RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED}


def read_error(call: Any) -> RemoteError:
    """Reads a failed call: a grpc.aio.AioRpcError, or a sync grpc.RpcError that is a Call.

    Never raises: a status without readable details becomes a RemoteError with its code and message.
    """
    code: grpc.StatusCode = call.code()
    message: str = call.details() or code.name
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # the details contradict the code or message of the call
        status = None
    if status is None:
        return RemoteError(code, message, retryable=code in _RETRYABLE)
    return _read_details(code, message, status.details)


def _read_details(code: grpc.StatusCode, message: str, details: Iterable[any_pb2.Any]) -> RemoteError:
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    quota = error_details_pb2.QuotaFailure()
    retry_after: float | None = None
    for detail in details:
        detail.Unpack(info)
        detail.Unpack(bad)
        detail.Unpack(quota)
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return RemoteError(
        status=code,
        message=message,
        reason=info.reason,
        retryable=info.metadata.get("retryable") == "true" if info.reason else code in _RETRYABLE,
        fault=info.metadata.get("fault", ""),
        stage=info.metadata.get("stage", ""),
        lesson_id=info.metadata.get("lesson_id", ""),
        retry_after_seconds=retry_after,
        violations=(
            *(FieldViolation(entry.field, entry.description) for entry in bad.field_violations),
            *(FieldViolation(entry.subject, entry.description) for entry in quota.violations),
        ),
    )


def _error_info(error: ServiceError) -> error_details_pb2.ErrorInfo:
    metadata = {"retryable": str(error.retryable).lower(), "fault": error.fault}
    metadata |= {"stage": error.stage} if error.stage else {}
    metadata |= {"lesson_id": error.lesson_id} if error.lesson_id else {}
    return error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)


def _bad_request(violations: tuple[FieldViolation, ...], room: int) -> error_details_pb2.BadRequest:
    """The violations that fit into `room` bytes."""
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        bad.field_violations.add(field=violation.field, description=violation.description[:_VIOLATION_CHARACTERS])
        if bad.ByteSize() > room:
            del bad.field_violations[-1]
            break
    return bad


def _quota_failure(violations: tuple[FieldViolation, ...]) -> error_details_pb2.QuotaFailure:
    quota = error_details_pb2.QuotaFailure()
    for violation in violations:
        quota.violations.add(subject=violation.field, description=violation.description[:_VIOLATION_CHARACTERS])
    return quota


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
