package turnout

import (
	"slices"
	"strings"

	pb "turnout.dev/go/turnoutv1"
)

// maxFallbackTargets bounds one list of targets to fall back on; a request's include may name as many.
const maxFallbackTargets = 256

// TargetName returns a target as it is written everywhere: "provider/model" or "provider/model@endpoint".
func TargetName(target *pb.Target) string {
	name := target.GetProvider() + "/" + target.GetModel()
	if target.GetEndpoint() != "" {
		name += "@" + target.GetEndpoint()
	}
	return name
}

// parseTarget reads "provider/model" or "provider/model@endpoint".
func parseTarget(name string) (*pb.Target, error) {
	provider, rest, _ := strings.Cut(name, "/")
	model, endpoint := rest, ""
	at := strings.LastIndex(rest, "@")
	if at >= 0 {
		model, endpoint = rest[:at], rest[at+1:]
	}
	if provider == "" || model == "" || at >= 0 && endpoint == "" {
		return nil, usage("fallback",
			"%q is not a target: write provider/model or provider/model@endpoint, such as openai/gpt-4o", name)
	}
	return &pb.Target{Provider: provider, Model: model, Endpoint: endpoint}, nil
}

// allowed returns the candidates that keep to the names and regions of a request, in their order. The sidecar holds
// requests to all their limits; this is what a client can hold them to by itself.
func allowed(candidates []*pb.Candidate, options *pb.RoutingOptions) []*pb.Candidate {
	var kept []*pb.Candidate
	for _, candidate := range candidates {
		if isAllowed(candidate, options) {
			kept = append(kept, candidate)
		}
	}
	return kept
}

func isAllowed(candidate *pb.Candidate, options *pb.RoutingOptions) bool {
	target := candidate.GetTarget()
	named := func(name string) bool {
		return name == target.GetProvider() || name == target.GetProvider()+"/"+target.GetModel() ||
			name == TargetName(target)
	}
	switch {
	case options.GetForceTarget() != "" && !named(options.GetForceTarget()),
		len(options.GetInclude()) > 0 && !slices.ContainsFunc(options.GetInclude(), named),
		slices.ContainsFunc(options.GetExclude(), named):
		return false
	default:
		// A candidate of unknown region is in none, as the sidecar has it.
		return len(options.GetRegions()) == 0 || slices.Contains(options.GetRegions(), candidate.GetRegion())
	}
}

// staticOrder holds the targets to fall back on by task, "" for all others.
type staticOrder map[string][]*pb.Candidate

func newStaticOrder(names map[string][]string) (staticOrder, error) {
	order := staticOrder{}
	for task, targets := range names {
		if len(targets) > maxFallbackTargets {
			return nil, usage("fallback", "the fallback has %d targets: give at most %d", len(targets), maxFallbackTargets)
		}
		candidates := []*pb.Candidate{}
		for _, name := range targets {
			target, err := parseTarget(name)
			if err != nil {
				return nil, err
			}
			candidates = append(candidates, &pb.Candidate{Target: target})
		}
		order[task] = candidates
	}
	return order, nil
}

// candidates returns the targets for a request, without those that its own options rule out.
func (o staticOrder) candidates(request *pb.RouteRequest) []*pb.Candidate {
	found, given := o[request.GetProfile().GetTask()]
	if !given {
		found = o[""]
	}
	return allowed(found, request.GetOptions())
}
