// Package turnout calls Turnout, the sidecar that routes LLM requests.
//
// A [Client] is made once for a process and used by any number of goroutines. There are two ways to use it, and they
// may be mixed:
//
//   - The sidecar makes the call: [Client.Execute] returns one complete answer, [Client.Stream] passes it on while it
//     comes.
//   - The application makes the call itself: [Client.Plan] asks which targets to use, [Do] runs the application's own
//     function against them in order and reports each outcome in the background.
//
// Everything that can go wrong with a call is an [Error]; see there for the tree. Requests and answers are the messages
// of the contract, in package turnoutv1; [UserMessage], [SystemMessage] and [Text] are shorthands for the usual ones.
package turnout
