/** The contract's messages and enums, as generated from router.proto. */

export * from "./gen/turnout/v1/router_pb.js";
