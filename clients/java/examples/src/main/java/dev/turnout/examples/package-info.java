/** A small program on Turnout's Java client, without any framework. */
package dev.turnout.examples;
