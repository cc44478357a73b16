"""The gRPC side: protobuf to core and back, the error table, admission, and the server itself. Protobuf stops here."""
