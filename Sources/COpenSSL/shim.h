// OpenSSL as Swift sees it: its macros as functions, and the few calls whose shape Swift has no words for.
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

// Has to be the first call of the process. By default OpenSSL frees its tables at exit(3), while threads that have just
// ended their work still free their own connections: both then write to the same memory.
static inline int copenssl_keep_until_exit(void) { return OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL); }

// No configuration file: it could load engines and other providers, which a static binary cannot and the gate must not.
static inline int copenssl_start(void) {
  return OPENSSL_init_ssl(
      OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_NO_ATEXIT, NULL);
}

// MARK: contexts

// What both sides have in common. TLS 1.2 at least; no renegotiation, so that a handshake is paid for once.
static inline int copenssl_context_defaults(SSL_CTX *context) {
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
}

// The protocols that the server side takes, as the wire has them, live as long as the process.
static inline int copenssl_choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_count,
                                           const unsigned char *offered, unsigned int offered_count, void *argument) {
  (void)ssl;
  const unsigned char *ours = argument;
  unsigned char *chosen = NULL;
  int result = SSL_select_next_proto(&chosen, out_count, ours, (unsigned int)strlen(argument), offered, offered_count);
  *out = chosen;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// `protocols`: a string literal.
static inline void copenssl_serve_protocols(SSL_CTX *context, const char *protocols) {
  SSL_CTX_set_alpn_select_cb(context, copenssl_choose_protocol, (void *)protocols);
}

static inline void copenssl_serve_sessions(SSL_CTX *context) {
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
}

// The first certificate of a PEM text is shown, and those behind it go along, as they vouch for it. 1 when the first was
// there and all could be read.
static inline int copenssl_show_chain(SSL_CTX *context, BIO *memory) {
  X509 *certificate = PEM_read_bio_X509(memory, NULL, NULL, NULL);
  if (!certificate) return 0;
  int done = SSL_CTX_use_certificate(context, certificate);
  X509_free(certificate);
  while (done == 1 && (certificate = PEM_read_bio_X509(memory, NULL, NULL, NULL))) {
    done = (int)SSL_CTX_add0_chain_cert(context, certificate);
    if (done != 1) X509_free(certificate);
  }
  ERR_clear_error();
  return done;
}

// What was read is wiped where OpenSSL decrypted it.
static inline void copenssl_wipe_plaintext(SSL *ssl) { SSL_set_options(ssl, SSL_OP_CLEANSE_PLAINTEXT); }

static inline int copenssl_set_server_name(SSL *ssl, const char *name) {
  return (int)SSL_set_tlsext_host_name(ssl, (char *)name);
}

// The certificate must be for this very name: no address, no `f*.example`, no common name (RFC 9525 section 2).
static inline int copenssl_expect_host(SSL *ssl, const char *name) {
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  return SSL_set1_host(ssl, name);
}

// The same for a server that is known by its address.
static inline int copenssl_expect_address(SSL *ssl, const char *address) {
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), address);
}

// MARK: what an upstream says beside its bytes

// Of one connection; its owner keeps it for as long as the connection lives.
struct copenssl_news {
  // The newest session that may be resumed, with a reference of its own, or NULL.
  SSL_SESSION *session;
  // A certificate of ours was asked for.
  int wants_certificate;
};

static inline int copenssl_keep_session(SSL *ssl, SSL_SESSION *session) {
  struct copenssl_news *news = SSL_get_app_data(ssl);
  if (!news) return 0;
  SSL_SESSION_free(news->session);
  news->session = session;
  return 1;
}

static inline int copenssl_note_request(SSL *ssl, void *argument) {
  (void)argument;
  struct copenssl_news *news = SSL_get_app_data(ssl);
  if (news) news->wants_certificate = 1;
  return 1;
}

// OpenSSL's own store of sessions would know neither clients nor rules: it stays empty.
static inline void copenssl_hear_news(SSL_CTX *context) {
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, copenssl_keep_session);
  SSL_CTX_set_cert_cb(context, copenssl_note_request, NULL);
}

static inline int copenssl_set_news(SSL *ssl, struct copenssl_news *news) { return SSL_set_app_data(ssl, news); }

// MARK: streams

// First what was read before TLS was thought of, then the socket.
static inline int copenssl_attach(SSL *ssl, int fd, const void *early, int early_count) {
  if (SSL_set_fd(ssl, fd) != 1) return 0;
  if (early_count == 0) return 1;
  BIO *memory = BIO_new(BIO_s_mem());
  if (!memory) return 0;
  if (BIO_write(memory, early, early_count) != early_count) {
    BIO_free(memory);
    return 0;
  }
  BIO_set_mem_eof_return(memory, -1);
  SSL_set0_rbio(ssl, memory);
  return 1;
}

// True when the early bytes had been the source, and now the socket is.
static inline int copenssl_read_socket(SSL *ssl, int fd) {
  if (BIO_method_type(SSL_get_rbio(ssl)) != BIO_TYPE_MEM) return 0;
  BIO *socket = BIO_new_socket(fd, BIO_NOCLOSE);
  if (!socket) return 0;
  SSL_set0_rbio(ssl, socket);
  return 1;
}

// MARK: certificates

static inline int copenssl_add_extension(X509 *certificate, X509 *issuer, int kind, const char *value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
  X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
  if (!extension) return 0;
  int added = X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  return added;
}

static inline int copenssl_add_name(X509_NAME *name, const char *field, const unsigned char *text, int count) {
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, text, count, -1, 0);
}

// 127 random bits: positive, and never met twice (RFC 5280 section 4.1.2.2).
static inline int copenssl_random_serial(X509 *certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return 0;
  bytes[0] = (bytes[0] & 0x7f) | 0x40;
  BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
  int done = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
  BN_free(number);
  return done;
}

// The next certificate of a PEM text as it stands there, in DER; NULL where there is none, or no PEM.
static inline unsigned char *copenssl_next_certificate(BIO *memory, long *count) {
  char *name = NULL, *header = NULL;
  unsigned char *bytes = NULL;
  while (PEM_read_bio(memory, &name, &header, &bytes, count) == 1) {
    int is_certificate = strcmp(name, PEM_STRING_X509) == 0;
    OPENSSL_free(name);
    OPENSSL_free(header);
    if (is_certificate) return bytes;
    OPENSSL_free(bytes);
  }
  return NULL;
}

// By which OpenSSL finds a certificate in a folder; 0 where the bytes are none.
static inline unsigned long copenssl_subject_hash(const unsigned char *bytes, long count) {
  X509 *certificate = d2i_X509(NULL, &bytes, count);
  unsigned long hash = certificate ? X509_subject_name_hash(certificate) : 0;
  X509_free(certificate);
  return hash;
}

static inline void copenssl_free(void *bytes) { OPENSSL_free(bytes); }

static inline EVP_PKEY *copenssl_new_key(void) { return EVP_EC_gen("P-256"); }

static inline long copenssl_memory_bytes(BIO *memory, char **start) { return BIO_get_mem_data(memory, start); }

static inline unsigned long copenssl_last_error(void) { return ERR_peek_last_error(); }
