package dev.turnout;

import java.util.random.RandomGenerator;

/** Chance that always says the same. */
record FixedChance(double value) implements RandomGenerator {
    @Override
    public double nextDouble() {
        return value;
    }

    @Override
    public long nextLong() {
        throw new UnsupportedOperationException("only doubles are drawn");
    }
}
