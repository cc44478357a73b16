package dev.turnout;

import static dev.turnout.Decisions.candidate;
import static dev.turnout.Decisions.names;
import static dev.turnout.Decisions.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.turnout.v1.Decision;
import dev.turnout.v1.RouteRequest;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Test;

class PlanCacheTest {
    private static final Decision PLAN =
            Decisions.of("d", candidate("north/m", 0.6), candidate("south/m", 0.3), candidate("west/m", 0.1));
    private static final RouteRequest CHAT = request("chat");

    private final VirtualClock clock = new VirtualClock();
    private final PlanCache cache = new PlanCache();

    private Optional<PlanOrigin> find(RouteRequest request, double chance) {
        return cache.find(PlanKey.of(request), Tokens.of(request), clock.getAsLong(), new FixedChance(chance));
    }

    private void keep(RouteRequest request, Decision decision) {
        cache.keep(PlanKey.of(request), Tokens.of(request), decision, clock.getAsLong());
    }

    @Test
    void idAndTokenCountsDoNotTellRequestsApart() {
        RouteRequest with = request("chat", 10L, 20L).toBuilder().setRequestId("r-1").build();

        assertEquals(PlanKey.of(CHAT), PlanKey.of(with));
        assertNotEquals(PlanKey.of(CHAT), PlanKey.of(request("planning")));
        assertNotEquals(PlanKey.of(CHAT), PlanKey.of(CHAT.toBuilder().setSessionId("s").build()));
        assertEquals(
                PlanKey.of(RouteRequest.getDefaultInstance()),
                PlanKey.of(request("", 10L, null)),
                "a profile of counts alone says no more than none");
    }

    @Test
    void theOrderOfLabelsDoesNotTellRequestsApart() {
        RouteRequest.Builder one = RouteRequest.newBuilder();
        RouteRequest.Builder other = RouteRequest.newBuilder();
        for (int index = 0; index < 16; index++) {
            one.getCallerBuilder().putLabels("k" + index, "v");
            other.getCallerBuilder().putLabels("k" + (15 - index), "v");
        }

        assertEquals(PlanKey.of(one.build()), PlanKey.of(other.build()));
    }

    @Test
    void aPlanServesRequestsOfNoMoreTokens() {
        keep(request("chat", 100L, 50L), PLAN);

        assertTrue(find(request("chat", 100L, 50L), 0).isPresent());
        assertTrue(find(request("chat", 1L, 1L), 0).isPresent());
        assertFalse(find(request("chat", 101L, 50L), 0).isPresent());
        assertFalse(find(request("chat", 100L, 51L), 0).isPresent());
        assertFalse(find(request("chat", 100L, null), 0).isPresent(), "unknown may be more");
        assertTrue(find(request("chat", 100L, 50L), 0).isPresent(), "a request too large does not drop it");
    }

    @Test
    void whatThePlanWasAskedWithoutItServesWithout() {
        keep(CHAT, PLAN);

        assertTrue(find(CHAT, 0).isPresent());
        assertFalse(find(request("chat", 1L, null), 0).isPresent());
    }

    @Test
    void validityCountsFromWhenTheQuestionWasSent() {
        cache.keep(PlanKey.of(CHAT), Tokens.of(CHAT), PLAN, clock.getAsLong() - Duration.ofSeconds(10).toNanos());
        clock.pass(Duration.ofSeconds(20).minusNanos(1));

        assertTrue(find(CHAT, 0).isPresent());
        clock.pass(Duration.ofNanos(1));
        assertFalse(find(CHAT, 0).isPresent());
        assertEquals(0, cache.size());
    }

    @Test
    void whatMayNotBeUsedAgainTakesNoPlace() {
        keep(CHAT, PLAN);
        keep(CHAT, PLAN.toBuilder().setReusable(false).build());

        assertEquals(0, cache.size());
    }

    @Test
    void theFirstIsDrawnByShareAndTheOthersKeepTheirOrder() {
        keep(CHAT, PLAN);

        assertEquals(List.of("north/m", "south/m", "west/m"), names(find(CHAT, 0.59).orElseThrow().order()));
        assertEquals(List.of("south/m", "north/m", "west/m"), names(find(CHAT, 0.61).orElseThrow().order()));
        assertEquals(List.of("west/m", "north/m", "south/m"), names(find(CHAT, 0.95).orElseThrow().order()));
    }

    @Test
    void sharesOfThoseListedAreScaledToOne() {
        keep(CHAT, Decisions.of("d", candidate("north/m", 0.1), candidate("south/m", 0), candidate("west/m", 0.3)));
        RandomGenerator random = new SplittableRandom(7);
        int north = 0;
        for (int draw = 0; draw < 4_000; draw++) {
            PlanOrigin origin = cache.find(PlanKey.of(CHAT), Tokens.of(CHAT), clock.getAsLong(), random)
                    .orElseThrow();
            String first = names(origin.order()).get(0);
            assertNotEquals("south/m", first, "a share of 0 is never drawn");
            north += first.equals("north/m") ? 1 : 0;
        }

        assertTrue(north > 850 && north < 1_150, "about a quarter: " + north);
    }

    @Test
    void withoutSharesTheOrderStands() {
        keep(CHAT, Decisions.of("d", candidate("north/m", 0), candidate("south/m", 0)));

        assertEquals(List.of("north/m", "south/m"), names(find(CHAT, 0.99).orElseThrow().order()));
    }

    @Test
    void aTargetThatFailedIsInNoKeptPlan() {
        keep(CHAT, PLAN);
        keep(request("planning"), Decisions.of("e", candidate("east/m", 1)));
        cache.drop(Targets.parse("west/m"));

        assertFalse(find(CHAT, 0).isPresent());
        assertTrue(find(request("planning"), 0).isPresent());
    }

    @Test
    void theLeastRecentlyUsedGoes() {
        for (int index = 0; index < PlanCache.MAX_PLAN_COUNT; index++) {
            keep(request("t" + index), PLAN);
        }
        find(request("t0"), 0);
        keep(request("another"), PLAN);

        assertEquals(256, cache.size());
        assertTrue(find(request("t0"), 0).isPresent());
        assertFalse(find(request("t1"), 0).isPresent());
    }
}
