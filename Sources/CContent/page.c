// gumbo over an arena: its tree is never walked to be freed (gumbo's own way recurses as deep as the page nests), and a page
// that wants more memory than it is granted is given up, by a jump past gumbo's frames. gumbo keeps nothing outside.
#include "CContent.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

enum { BLOCK_BYTES = 256 * 1024, ALIGNMENT = 16 };

struct block {
  struct block *before;
  _Alignas(ALIGNMENT) unsigned char bytes[];
};

struct ccontent_page {
  struct block *newest;
  unsigned char *next;
  size_t left;
  size_t memory_left;
  GumboOutput *output;
  jmp_buf give_up;
};

static void *allocate(void *userdata, size_t size) {
  ccontent_page *page = userdata;
  if (size > SIZE_MAX / 2) longjmp(page->give_up, 1);
  size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  if (size > page->left) {
    size_t wanted = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    if (wanted > page->memory_left) longjmp(page->give_up, 1);
    struct block *block = malloc(sizeof *block + wanted);
    if (!block) longjmp(page->give_up, 1);
    page->memory_left -= wanted;
    block->before = page->newest;
    page->newest = block;
    page->next = block->bytes;
    page->left = wanted;
  }
  void *memory = page->next;
  page->next += size;
  page->left -= size;
  return memory;
}

static void deallocate(void *userdata, void *memory) {
  (void)userdata;
  (void)memory;
}

ccontent_page *ccontent_parse(const char *text, size_t length, size_t memory_max) {
  ccontent_page *volatile page = calloc(1, sizeof *page);
  if (!page) return NULL;
  page->memory_left = memory_max;
  if (setjmp(page->give_up)) {
    ccontent_free(page);
    return NULL;
  }
  GumboOptions options = kGumboDefaultOptions;
  options.allocator = allocate;
  options.deallocator = deallocate;
  options.userdata = page;
  options.max_errors = 0;
  page->output = gumbo_parse_with_options(&options, text, length);
  return page;
}

const GumboNode *ccontent_document(const ccontent_page *page) { return page->output->document; }

void ccontent_free(ccontent_page *page) {
  struct block *block = page->newest;
  while (block) {
    struct block *before = block->before;
    free(block);
    block = before;
  }
  free(page);
}

static int is_element(const GumboNode *node) {
  return node->type == GUMBO_NODE_ELEMENT || node->type == GUMBO_NODE_TEMPLATE;
}

const GumboNode *ccontent_child(const GumboNode *node, size_t index) {
  const GumboVector *children = NULL;
  if (node->type == GUMBO_NODE_DOCUMENT) children = &node->v.document.children;
  if (is_element(node)) children = &node->v.element.children;
  return children && index < children->length ? children->data[index] : NULL;
}

const char *ccontent_attribute(const GumboNode *node, const char *name) {
  if (!is_element(node)) return NULL;
  const GumboAttribute *found = gumbo_get_attribute(&node->v.element.attributes, name);
  return found ? found->value : NULL;
}

int ccontent_has_attributes(const GumboNode *node) {
  return is_element(node) && node->v.element.attributes.length > 0;
}

const char *ccontent_text(const GumboNode *node) {
  return node->type == GUMBO_NODE_DOCUMENT || is_element(node) ? NULL : node->v.text.text;
}

GumboTag ccontent_tag(const GumboNode *node) { return is_element(node) ? node->v.element.tag : GUMBO_TAG_UNKNOWN; }

int ccontent_is_html(const GumboNode *node) {
  return is_element(node) && node->v.element.tag_namespace == GUMBO_NAMESPACE_HTML;
}

const char *ccontent_tag_name(const GumboNode *node, size_t *length) {
  *length = 0;
  if (!is_element(node)) return NULL;
  GumboStringPiece name = node->v.element.original_tag;
  gumbo_tag_from_original_text(&name);
  *length = name.length;
  return name.data;
}
