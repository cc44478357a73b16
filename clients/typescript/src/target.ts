/**
 * Targets as they are written everywhere, "provider/model" or "provider/model\@endpoint", and what of a request's own
 * limits a name can break.
 */

import { create } from "@bufbuild/protobuf";
import { UsageError } from "./errors.js";
import { type Candidate, type RoutingOptions, type Target, TargetSchema } from "./gen/turnout/v1/router_pb.js";

/** Returns a target as it is written. */
export function targetName(target: Target | undefined): string {
  if (target === undefined) return "";
  const name = `${target.provider}/${target.model}`;
  return target.endpoint ? `${name}@${target.endpoint}` : name;
}

/**
 * Reads a target: split at the first "/" and at the last "\@".
 *
 * @throws {@link UsageError} where provider, model or a begun endpoint is missing.
 */
export function parseTarget(name: string): Target {
  const slash = name.indexOf("/");
  const at = name.lastIndexOf("@");
  const hasEndpoint = slash >= 0 && at > slash;
  const model = name.slice(slash + 1, hasEndpoint ? at : undefined);
  const endpoint = hasEndpoint ? name.slice(at + 1) : "";
  if (slash <= 0 || !model || (hasEndpoint && !endpoint)) {
    throw new UsageError(`${JSON.stringify(name)} names no target: give "provider/model" or "provider/model@endpoint"`);
  }
  return create(TargetSchema, { provider: name.slice(0, slash), model, endpoint });
}

/**
 * Tells whether a candidate keeps to force_target, include, exclude and regions of a request: all that a client can
 * hold it to by itself. A candidate of unknown region is in none, as the sidecar has it.
 */
export function isAllowed({ target, region }: Candidate, options: RoutingOptions | undefined): boolean {
  if (options === undefined || target === undefined) return target !== undefined;
  const names = [target.provider, `${target.provider}/${target.model}`, targetName(target)];
  if (options.forceTarget && !names.includes(options.forceTarget)) return false;
  if (options.include.length > 0 && !options.include.some((name) => names.includes(name))) return false;
  if (options.exclude.some((name) => names.includes(name))) return false;
  return options.regions.length === 0 || options.regions.includes(region);
}
