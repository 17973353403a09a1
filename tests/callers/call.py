"""Asks the gateway for one lesson: `python call.py ADDRESS CAN_DO_ID`. NIDAN_API_KEY is the caller's key."""

import os
import random
import sys
import time
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc

DEADLINE_SECONDS = 320  # above the gateway's LESSON_DEADLINE_SECONDS (300), so that its own answer comes first
TRIES = 3
OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),  # a lesson can be silent for minutes; the gateway allows a ping every 10 s
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.enable_retries", 0),  # a repeated lesson costs money: this file decides, not the channel
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
]


def main(address: str, can_do_id: str) -> int:
    key = os.environ.get("NIDAN_API_KEY")
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    request = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id=can_do_id))
    with grpc.insecure_channel(address, OPTIONS) as channel:  # with TLS: grpc.secure_channel(address, credentials, …)
        lessons = lesson_service_pb2_grpc.LessonServiceStub(channel)
        for tries_left in reversed(range(TRIES)):
            try:
                reply = lessons.GenerateLesson(request, timeout=DEADLINE_SECONDS, metadata=metadata)
            except grpc.RpcError as error:
                reason, retryable, wait = explain(error)
                print(f"{error.code().name} {reason}: {error.details()}", file=sys.stderr)
                if not retryable or not tries_left:
                    return 1
                time.sleep(wait * random.uniform(1.0, 1.5))
            else:
                print(reply.master_json)
                return 0
    return 1


def explain(error: Any) -> tuple[str, bool, float]:
    """The reason, whether another try can help, and after how many seconds."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(retry)
    seconds = retry.retry_delay.ToNanoseconds() / 1e9
    retryable = info.metadata["retryable"] == "true" if info.reason else error.code() is grpc.StatusCode.UNAVAILABLE
    return info.reason, retryable, seconds or 1.0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
