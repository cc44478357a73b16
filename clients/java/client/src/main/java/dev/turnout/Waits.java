package dev.turnout;

/** How those wait who want what another caller asks for. */
interface Waits {
    /** Has something done after so many nanoseconds, soon for none; running what it returns takes that back. */
    Runnable after(long nanos, Runnable then);

    /** Has something done that may take its time, in a thread of its own. */
    void run(Runnable work);

    /** Throws what ends a call in whose middle the client was closed. */
    void checkRunning();
}
