// Sends all TCP of the sandbox to one listener, whatever address and port it is meant for (TPROXY, by nf_tables).
// One batch of netlink messages, which the kernel takes whole or not at all; no program of the host's is run for it.
#define _GNU_SOURCE
#include "inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// The batch is some 1200 bytes long, and made once in a process.
enum { BATCH_MAX = 4096, PRIORITY_MANGLE = -150 };
static const char table[] = "gate", chain[] = "all";

static union {
  struct nlmsghdr align;
  char bytes[BATCH_MAX];
} batch;
static size_t used;
static struct nlmsghdr *message;

// The sizes of a batch do not depend on anything: BATCH_MAX is enough, or never is.
static void *take(size_t size) {
  void *place = batch.bytes + used;
  used += NLMSG_ALIGN(size);
  return place;
}

static void begin_message(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource) {
  message = take(NLMSG_HDRLEN);
  message->nlmsg_type = type;
  message->nlmsg_flags = NLM_F_REQUEST | flags;
  struct nfgenmsg *head = take(sizeof *head);
  *head = (struct nfgenmsg){.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
}

static void begin_mark(uint16_t type, uint16_t flags) { begin_message(type, flags, AF_UNSPEC, NFNL_SUBSYS_NFTABLES); }

static void begin(uint16_t type, uint16_t flags) {
  begin_message(NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_CREATE | flags, NFPROTO_INET, 0);
}

static void end(void) { message->nlmsg_len = (uint32_t)(batch.bytes + used - (char *)message); }

static void put(uint16_t type, const void *value, size_t size) {
  struct nlattr *attribute = take(NLA_HDRLEN + size);
  attribute->nla_type = type;
  attribute->nla_len = (uint16_t)(NLA_HDRLEN + size);
  memcpy((char *)attribute + NLA_HDRLEN, value, size);
}
static void put_text(uint16_t type, const char *text) { put(type, text, strlen(text) + 1); }
static void put_number(uint16_t type, uint32_t number) { put(type, &(uint32_t){htonl(number)}, 4); }

static struct nlattr *open_nest(uint16_t type) {
  struct nlattr *nest = take(NLA_HDRLEN);
  nest->nla_type = type | NLA_F_NESTED;
  return nest;
}
static void close_nest(struct nlattr *nest) { nest->nla_len = (uint16_t)(batch.bytes + used - (char *)nest); }

static struct nlattr *element, *data;
static void begin_expression(const char *name) {
  element = open_nest(NFTA_LIST_ELEM);
  put_text(NFTA_EXPR_NAME, name);
  data = open_nest(NFTA_EXPR_DATA);
}
static void end_expression(void) {
  close_nest(data);
  close_nest(element);
}

static void put_value(uint16_t type, const void *value, size_t size) {
  struct nlattr *nest = open_nest(type);
  put(NFTA_DATA_VALUE, value, size);
  close_nest(nest);
}

static void compare(uint32_t operation, const void *value, size_t size) {
  begin_expression("cmp");
  put_number(NFTA_CMP_SREG, NFT_REG_1);
  put_number(NFTA_CMP_OP, operation);
  put_value(NFTA_CMP_DATA, value, size);
  end_expression();
}

static void meta_is(uint32_t key, uint8_t value) {
  begin_expression("meta");
  put_number(NFTA_META_DREG, NFT_REG_1);
  put_number(NFTA_META_KEY, key);
  end_expression();
  compare(NFT_CMP_EQ, &value, 1);
}

static void payload_is_not(uint32_t base, uint32_t offset, const void *value, size_t size) {
  begin_expression("payload");
  put_number(NFTA_PAYLOAD_DREG, NFT_REG_1);
  put_number(NFTA_PAYLOAD_BASE, base);
  put_number(NFTA_PAYLOAD_OFFSET, offset);
  put_number(NFTA_PAYLOAD_LEN, (uint32_t)size);
  end_expression();
  compare(NFT_CMP_NEQ, value, size);
}

static void load(uint32_t reg, const void *value, size_t size) {
  begin_expression("immediate");
  put_number(NFTA_IMMEDIATE_DREG, reg);
  put_value(NFTA_IMMEDIATE_DATA, value, size);
  end_expression();
}

// meta nfproto F meta l4proto tcp F daddr != LOOPBACK tcp dport != 53 tproxy F to LOOPBACK:PORT
static void add_rule(int is_v6, uint16_t port) {
  static const uint8_t v6[16] = {[15] = 1}, v4[4] = {127, 0, 0, 1};
  begin(NFT_MSG_NEWRULE, NLM_F_APPEND);
  put_text(NFTA_RULE_TABLE, table);
  put_text(NFTA_RULE_CHAIN, chain);
  struct nlattr *list = open_nest(NFTA_RULE_EXPRESSIONS);
  meta_is(NFT_META_NFPROTO, is_v6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
  meta_is(NFT_META_L4PROTO, IPPROTO_TCP);
  // All of 127.0.0.0/8, and ::1, are the sandbox's own.
  if (is_v6) payload_is_not(NFT_PAYLOAD_NETWORK_HEADER, 24, v6, sizeof v6);
  else payload_is_not(NFT_PAYLOAD_NETWORK_HEADER, 16, v4, 1);
  // DNS has listeners of its own, on every address.
  payload_is_not(NFT_PAYLOAD_TRANSPORT_HEADER, 2, &(uint16_t){htons(53)}, 2);
  load(NFT_REG_1, is_v6 ? v6 : v4, is_v6 ? sizeof v6 : sizeof v4);
  load(NFT_REG_2, &(uint16_t){htons(port)}, 2);
  begin_expression("tproxy");
  put_number(NFTA_TPROXY_FAMILY, is_v6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
  put_number(NFTA_TPROXY_REG_ADDR, NFT_REG_1);
  put_number(NFTA_TPROXY_REG_PORT, NFT_REG_2);
  end_expression();
  close_nest(list);
  end();
}

int network_redirect(uint16_t port, int has_v6) {
  begin_mark(NFNL_MSG_BATCH_BEGIN, 0);
  end();
  begin(NFT_MSG_NEWTABLE, 0);
  put_text(NFTA_TABLE_NAME, table);
  end();
  begin(NFT_MSG_NEWCHAIN, 0);
  put_text(NFTA_CHAIN_TABLE, table);
  put_text(NFTA_CHAIN_NAME, chain);
  struct nlattr *hook = open_nest(NFTA_CHAIN_HOOK);
  put_number(NFTA_HOOK_HOOKNUM, NF_INET_PRE_ROUTING);
  put_number(NFTA_HOOK_PRIORITY, (uint32_t)PRIORITY_MANGLE);
  close_nest(hook);
  put_text(NFTA_CHAIN_TYPE, "filter");
  end();
  add_rule(0, port);
  if (has_v6) add_rule(1, port);
  // The last message's acknowledgement comes after the errors of those before it, or alone.
  begin_mark(NFNL_MSG_BATCH_END, NLM_F_ACK);
  end();
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  FAIL_IF(fd < 0, "socket(NETLINK_NETFILTER)");
  union {
    struct nlmsghdr head;
    char bytes[4096];
  } answer;
  sandbox_stage = "nf_tables";
  ssize_t got = send(fd, &batch, used, 0);
  if (got >= 0) got = recv(fd, &answer, sizeof answer, 0);
  int result = got < 0 ? -errno : -EPROTO;
  if (got >= (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) && answer.head.nlmsg_type == NLMSG_ERROR)
    result = ((struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
  close(fd);
  return result;
}
