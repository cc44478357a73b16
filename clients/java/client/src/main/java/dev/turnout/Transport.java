package dev.turnout;

import io.grpc.ChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.util.concurrent.DefaultThreadFactory;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** The channel to the sidecar over TCP or a Unix socket; connecting happens with the first call. */
final class Transport implements AutoCloseable {
    /** The sidecar's own limit of a message. */
    static final int MESSAGE_BYTES = 32 * 1024 * 1024;

    private static final int METADATA_BYTES = 64 * 1024;
    private static final long ALIVE_AFTER_SECONDS = 20;
    private static final long ALIVE_WITHIN_SECONDS = 10;
    private static final String USER_AGENT = "turnout-java/" + Version.CLIENT;

    private final ManagedChannel channel;
    private final EventLoopGroup ownLoop;

    private Transport(ManagedChannel channel, EventLoopGroup ownLoop) {
        this.channel = channel;
        this.ownLoop = ownLoop;
    }

    /** Opens the channel. Throws IllegalArgumentException for TLS material that is none. */
    static Transport open(Connection connection, ScheduledExecutorService timer) {
        EventLoopGroup loop = connection.isUnix() ? unixLoop() : null;
        NettyChannelBuilder builder = connection.isUnix() ? unix(connection, loop) : tcp(connection);
        ManagedChannel channel = builder
                // The contract says what may be made again; what gRPC makes again by itself would come on top.
                .disableRetry()
                .disableServiceConfigLookUp()
                // A sidecar is next door: an egress proxy of the environment must not come between.
                .proxyDetector(address -> null)
                .maxInboundMessageSize(MESSAGE_BYTES)
                .maxInboundMetadataSize(METADATA_BYTES)
                // A connection that died without a word would take every call into its deadline for a quarter of an
                // hour. The sidecar allows a ping every 5 s, also without calls.
                .keepAliveTime(ALIVE_AFTER_SECONDS, TimeUnit.SECONDS)
                .keepAliveTimeout(ALIVE_WITHIN_SECONDS, TimeUnit.SECONDS)
                .keepAliveWithoutCalls(true)
                .userAgent(USER_AGENT)
                .build();
        new Reconnect(channel, timer).begin();
        return new Transport(channel, loop);
    }

    ManagedChannel channel() {
        return channel;
    }

    /** Ends running calls and closes the connection. */
    @Override
    public void close() {
        channel.shutdownNow();
        if (ownLoop == null) {
            return;
        }
        try {
            // The loop has to write the last frames; it is over in milliseconds.
            channel.awaitTermination(1, TimeUnit.SECONDS);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        ownLoop.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    }

    private static NettyChannelBuilder tcp(Connection connection) {
        NettyChannelBuilder builder = NettyChannelBuilder.forAddress(
                connection.host(), connection.port(), credentials(connection.tls()));
        if (connection.tls() != null && !connection.tls().serverName().isEmpty()) {
            builder.overrideAuthority(connection.tls().serverName());
        }
        return builder;
    }

    private static NettyChannelBuilder unix(Connection connection, EventLoopGroup loop) {
        SocketAddress address = UnixDomainSocketAddress.of(connection.socketPath());
        return NettyChannelBuilder.forAddress(address, InsecureChannelCredentials.create())
                .channelFactory(NioDomainSocketChannel::new, UnixDomainSocketAddress.class)
                .eventLoopGroup(loop)
                // gRPC asks for it always; such sockets do not have it, and would say so in the log each time.
                .withOption(ChannelOption.SO_KEEPALIVE, null)
                // The path would be no valid authority.
                .overrideAuthority("localhost");
    }

    /** Java's own Unix sockets, on every system that has them; gRPC's shared loop may be of another kind. */
    private static EventLoopGroup unixLoop() {
        return new MultiThreadIoEventLoopGroup(
                1, new DefaultThreadFactory("turnout-unix", true), NioIoHandler.newFactory());
    }

    private static ChannelCredentials credentials(Tls tls) {
        if (tls == null) {
            return InsecureChannelCredentials.create();
        }
        TlsChannelCredentials.Builder builder = TlsChannelCredentials.newBuilder();
        try {
            if (tls.ca() != null) {
                checkCertificates("CA", tls.ca());
                builder.trustManager(new ByteArrayInputStream(tls.ca()));
            }
            if (tls.certificate() != null) {
                checkCertificates("certificate", tls.certificate());
                checkKey(tls.key());
                builder.keyManager(new ByteArrayInputStream(tls.certificate()), new ByteArrayInputStream(tls.key()));
            }
            return builder.build();
        } catch (IOException error) {
            throw new UncheckedIOException("reading from memory cannot fail", error);
        }
    }

    /** What is no certificate would fail with the first call only, and not in words that help. */
    private static void checkCertificates(String what, byte[] pem) {
        try {
            if (!CertificateFactory.getInstance("X.509").generateCertificates(new ByteArrayInputStream(pem)).isEmpty()) {
                return;
            }
        } catch (CertificateException error) {
            throw new IllegalArgumentException("the TLS " + what + " holds no certificate in PEM", error);
        }
        throw new IllegalArgumentException("the TLS " + what + " holds no certificate in PEM");
    }

    private static void checkKey(byte[] pem) {
        if (!new String(pem, StandardCharsets.ISO_8859_1).contains("-----BEGIN PRIVATE KEY-----")) {
            throw new IllegalArgumentException("the TLS key is not PKCS #8 in PEM without a pass phrase:"
                    + " 'openssl pkcs8 -topk8 -nocrypt' makes it so");
        }
    }
}
