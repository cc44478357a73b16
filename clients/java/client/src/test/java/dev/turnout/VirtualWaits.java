package dev.turnout;

import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.TransportException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** Waits on a clock that tests move; what is due is done when they say so, in their thread. */
final class VirtualWaits implements Waits {
    private record Timer(long at, Runnable then) {}

    private final VirtualClock clock;
    private final List<Timer> timers = new ArrayList<>();
    boolean closed;

    VirtualWaits(VirtualClock clock) {
        this.clock = clock;
    }

    int timerCount() {
        return timers.size();
    }

    /** Lets time pass, and does what is due then. */
    void pass(Duration time) {
        clock.pass(time);
        List<Timer> due = timers.stream().filter(timer -> timer.at() - clock.getAsLong() <= 0).toList();
        timers.removeAll(due);
        due.forEach(timer -> timer.then().run());
    }

    @Override
    public Runnable after(long nanos, Runnable then) {
        Timer timer = new Timer(clock.getAsLong() + nanos, then);
        timers.add(timer);
        return () -> timers.remove(timer);
    }

    @Override
    public void run(Runnable work) {
        work.run();
    }

    @Override
    public void checkRunning() {
        if (closed) {
            throw new TransportException("closed", ErrorDetails.NONE);
        }
    }
}
