package dev.turnout.errors;

import java.io.Serializable;

/**
 * What is wrong with one field of a request.
 *
 * @param field the field's path in the request, such as {@code options.min_quality}
 * @param description what is wrong, and what would be right
 */
public record FieldViolation(String field, String description) implements Serializable {}
