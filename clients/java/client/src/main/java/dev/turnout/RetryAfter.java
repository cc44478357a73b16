package dev.turnout;

import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Collection;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.stream.Stream;

/** Reads how long a provider asks to wait: {@code retry-after-ms}, and {@code Retry-After} in seconds or as a date. */
final class RetryAfter {
    private RetryAfter() {}

    /** The wait that headers ask for, at most one hour; empty for none, one in the past, and one that cannot be read. */
    static Optional<Duration> of(Function<String, Optional<String>> headers, Instant now) {
        Optional<Duration> wait = headers.apply("retry-after-ms")
                .flatMap(RetryAfter::number)
                .map(millis -> seconds(millis / 1000))
                .or(() -> headers.apply("retry-after").flatMap(value -> number(value)
                        .map(RetryAfter::seconds)
                        .or(() -> date(value).map(date -> Duration.between(now, date)))));
        return wait.filter(duration -> !duration.isNegative())
                .map(duration -> duration.compareTo(FailureClassifier.LONGEST_RETRY_AFTER) > 0
                        ? FailureClassifier.LONGEST_RETRY_AFTER
                        : duration);
    }

    /** The headers of an exception, or of the response that it carries, whatever class they are of. */
    static Function<String, Optional<String>> headersOf(Throwable error) {
        Stream<Object> sources = Stream.concat(
                Stream.of("response", "getResponse").flatMap(name -> Duck.call(error, name).stream()), Stream.of(error));
        Object headers = sources.flatMap(source -> Stream.of("headers", "getHeaders", "responseHeaders", "getResponseHeaders")
                        .flatMap(name -> Duck.call(source, name).stream()))
                .findFirst()
                .orElse(Map.of());
        return name -> value(headers, name);
    }

    private static Optional<String> value(Object headers, String name) {
        if (headers instanceof Map<?, ?> map) {
            return map.entrySet().stream()
                    .filter(entry -> name.equalsIgnoreCase(String.valueOf(entry.getKey())))
                    .flatMap(entry -> text(entry.getValue()).stream())
                    .findFirst();
        }
        return Stream.of("firstValue", "getFirst", "values", "get")
                .flatMap(method -> Duck.call(headers, method, name).stream())
                .flatMap(value -> text(value).stream())
                .findFirst();
    }

    private static Optional<String> text(Object value) {
        Object first = value instanceof Collection<?> many ? many.stream().findFirst().orElse(null) : value;
        return first instanceof String text ? Optional.of(text.strip()) : Optional.empty();
    }

    private static Optional<Double> number(String value) {
        return value.matches("[0-9]{1,12}(\\.[0-9]{1,9})?") ? Optional.of(Double.valueOf(value)) : Optional.empty();
    }

    private static Duration seconds(double seconds) {
        return Duration.ofNanos((long) (Math.min(seconds, FailureClassifier.LONGEST_RETRY_AFTER.toSeconds()) * 1e9));
    }

    private static Optional<Instant> date(String value) {
        try {
            return Optional.of(ZonedDateTime.parse(value, DateTimeFormatter.RFC_1123_DATE_TIME).toInstant());
        } catch (DateTimeException error) {
            return Optional.empty();
        }
    }
}
