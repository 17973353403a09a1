// Validates custom resources against the schemas of their CRDs: a JSON array of objects on standard input. Prints one
// line for each fault, `Kind/name: what is wrong`; status 1 with faults, 2 for a kind that has no schema here.
//
// These validators are compiled and say nothing of a field that the schema does not know, which an API server would
// drop: a field misspelt. But they never read it either, so every object is watched: what nobody read is no field.
import { readFileSync } from "node:fs";
import * as certManager from "@kubernetes-models/cert-manager/cert-manager.io/v1";
import * as gateway from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import * as keda from "@kubernetes-models/keda/keda.sh/v1alpha1";
import * as operator from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

const models = {
  "cert-manager.io/v1": certManager,
  "gateway.networking.k8s.io/v1": gateway,
  "keda.sh/v1alpha1": keda,
  "monitoring.coreos.com/v1": operator,
};

function watched(value, read) {
  if (value === null || typeof value !== "object") return value;
  const children = new Map();
  return new Proxy(value, {
    get(target, key) {
      if (typeof key !== "string" || !Object.hasOwn(target, key)) return Reflect.get(target, key);
      if (!read.has(target)) read.set(target, new Set());
      read.get(target).add(key);
      if (!children.has(key)) children.set(key, watched(target[key], read));
      return children.get(key);
    },
  });
}

function* unread(value, read, path) {
  if (value === null || typeof value !== "object") return;
  for (const [key, child] of Object.entries(value)) {
    const below = Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`;
    if (!read.get(value)?.has(key)) yield `${below} is no field of this kind`;
    else yield* unread(child, read, below);
  }
}

let status = 0;
function fault(name, message, worth) {
  console.log(`${name}: ${message}`);
  status = Math.max(status, worth);
}

for (const given of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${given.kind}/${given.metadata?.name}`;
  const Model = models[given.apiVersion]?.[given.kind];
  if (!Model) {
    fault(name, `no schema for ${given.apiVersion}`, 2);
    continue;
  }
  const read = new Map();
  try {
    Model.prototype.validate.call(watched(given, read)); // a Model made of it would be a copy, and read all
  } catch (error) {
    fault(name, error.message, 1);
    continue; // it may have stopped reading there
  }
  for (const message of unread(given, read, "")) fault(name, message, 1);
}
process.exitCode = status;
