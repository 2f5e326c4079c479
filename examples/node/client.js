// A client of recsys in Node: the protos are read at run time, nothing is generated.
//
//     npm ci
//     node client.js 127.0.0.1:50051 user-1 item-1 item-2 item-3
//
// RECSYS_CA names a file with the authority of the server (TLS), RECSYS_TOKEN a bearer token.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const PROTOS = fileURLToPath(new URL("../../protos", import.meta.url));
const DEADLINE_MS = 2000;

// gRPC's own retries, as the Python clients have them: only when nobody answered.
const SERVICE_CONFIG = JSON.stringify({
  methodConfig: [
    {
      name: [
        { service: "recsys.v1.RankingService" },
        { service: "recsys.v1.EventService" },
      ],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.05s",
        maxBackoff: "1s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE", "CANCELLED"],
      },
    },
  ],
});

function openClients(address) {
  const files = ["recsys/v1/ranking.proto", "recsys/v1/event.proto"];
  const options = { includeDirs: [PROTOS], keepCase: true, longs: Number, defaults: true };
  const { recsys } = grpc.loadPackageDefinition(loadSync(files, options));
  const credentials = process.env.RECSYS_CA
    ? grpc.credentials.createSsl(readFileSync(process.env.RECSYS_CA))
    : grpc.credentials.createInsecure();
  const channel = { "grpc.service_config": SERVICE_CONFIG, "grpc.keepalive_time_ms": 30000 };
  return {
    ranking: new recsys.v1.RankingService(address, credentials, channel),
    events: new recsys.v1.EventService(address, credentials, channel),
  };
}

function metadata() {
  const found = new grpc.Metadata();
  if (process.env.RECSYS_TOKEN) {
    found.set("authorization", `Bearer ${process.env.RECSYS_TOKEN}`);
  }
  return found;
}

const deadline = () => ({ deadline: Date.now() + DEADLINE_MS });

function rank(client, request) {
  return new Promise((resolve, reject) => {
    client.Rank(request, metadata(), deadline(), (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

// Resolves when every accepted event is on the server's disk.
function writeEvents(client, events) {
  return new Promise((resolve, reject) => {
    const call = client.WriteEvents(metadata(), deadline(), (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
    call.write({ events });
    call.end();
  });
}

const [address, userId, ...itemIds] = process.argv.slice(2);
const clients = openClients(address);
try {
  const request = { user_id: userId, item_ids: itemIds };
  const before = await rank(clients.ranking, request);
  const click = { user_id: userId, item_id: before.item_ids.at(-1), type: "click" };
  const report = await writeEvents(clients.events, [
    { event_id: `node-${Date.now()}`, interaction: click },
  ]);
  const after = await rank(clients.ranking, request);
  console.log(
    JSON.stringify({
      before: before.item_ids,
      accepted: Number(report.accepted),
      after: after.item_ids,
      model_version: after.model_version,
    }),
  );
} catch (error) {
  console.error(`${grpc.status[error.code] ?? "ERROR"}: ${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  clients.ranking.close();
  clients.events.close();
}
