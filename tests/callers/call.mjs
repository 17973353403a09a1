// Asks the gateway for one lesson: `node call.mjs ADDRESS CAN_DO_ID`. NIDAN_API_KEY is the caller's key.
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import protobuf from "protobufjs";

const PROTOS = process.env.NIDAN_PROTOS ?? "protos";
const DEADLINE_SECONDS = 320; // above the gateway's LESSON_DEADLINE_SECONDS (300), so that its own answer comes first
const TRIES = 3;
const OPTIONS = {
  "grpc.keepalive_time_ms": 30_000, // a lesson can be silent for minutes; the gateway allows a ping every 10 s
  "grpc.keepalive_timeout_ms": 20_000,
  "grpc.enable_retries": 0, // a repeated lesson costs money: this file decides, not the channel
  "grpc.service_config": '{"loadBalancingConfig": [{"round_robin": {}}]}',
};
const rpc = protobuf.parse(`syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }`, { keepCase: true }).root;

/** The reason, whether another try can help, and after how many seconds. */
function explain(error) {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const details = bytes ? rpc.lookupType("Status").decode(bytes).details : [];
  const read = (name) => {
    const found = details.find((detail) => detail.type_url.endsWith(`google.rpc.${name}`));
    return found && rpc.lookupType(name).decode(found.value);
  };
  const info = read("ErrorInfo");
  const delay = read("RetryInfo")?.retry_delay;
  return {
    reason: info?.reason ?? "",
    retryable: info ? info.metadata.retryable === "true" : error.code === grpc.status.UNAVAILABLE,
    seconds: (delay ? Number(delay.seconds) + delay.nanos / 1e9 : 0) || 1,
  };
}

const [address, canDoId] = process.argv.slice(2);
const loaded = protoLoader.loadSync("lesson/v1/lesson_service.proto", { includeDirs: [PROTOS], enums: String });
const { LessonService } = grpc.loadPackageDefinition(loaded).lesson.v1;
const lessons = new LessonService(address, grpc.credentials.createInsecure(), OPTIONS); // with TLS: createSsl(…)
const metadata = new grpc.Metadata();
if (process.env.NIDAN_API_KEY) metadata.set("authorization", `Bearer ${process.env.NIDAN_API_KEY}`);

const ask = () => new Promise((resolve, reject) => {
  const deadline = new Date(Date.now() + DEADLINE_SECONDS * 1000);
  lessons.GenerateLesson({ spec: { canDoId } }, metadata, { deadline }, (error, reply) =>
    error ? reject(error) : resolve(reply));
});

process.exitCode = 1;
for (let triesLeft = TRIES - 1; triesLeft >= 0; triesLeft -= 1) {
  try {
    console.log((await ask()).masterJson);
    process.exitCode = 0;
    break;
  } catch (error) {
    const { reason, retryable, seconds } = explain(error);
    console.error(`${grpc.status[error.code]} ${reason}: ${error.details}`);
    if (!retryable) break;
    if (triesLeft) await sleep(seconds * 1000 * (1 + Math.random() / 2));
  }
}
lessons.close();
