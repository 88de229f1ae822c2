// What the content checks need of C: a page parsed by gumbo within a bound of memory, and the shipped patterns.
#ifndef CCONTENT_H
#define CCONTENT_H

#include <gumbo.h>
#include <stddef.h>

// A parsed page and all its memory.
typedef struct ccontent_page ccontent_page;

// Parses `length` bytes at `text`, which must stay in place as long as the page. NULL when more than `memory_max` bytes would be
// needed, or the system has none left.
ccontent_page *ccontent_parse(const char *text, size_t length, size_t memory_max);
const GumboNode *ccontent_document(const ccontent_page *page);
void ccontent_free(ccontent_page *page);

// The children of a document, an element or a template: NULL past the end, and for other nodes.
const GumboNode *ccontent_child(const GumboNode *node, size_t index);
// The value of an element's attribute, NULL without one. `name` in lower case.
const char *ccontent_attribute(const GumboNode *node, const char *name);
int ccontent_has_attributes(const GumboNode *node);
// The text of a text, blank, CDATA or comment node; NULL for others.
const char *ccontent_text(const GumboNode *node);
GumboTag ccontent_tag(const GumboNode *node);
int ccontent_is_html(const GumboNode *node);
// The name as it stands in the page, for tags that gumbo does not know: not terminated, `length` bytes.
const char *ccontent_tag_name(const GumboNode *node, size_t *length);

// Sources/CContent/patterns.yaml, byte for byte.
const unsigned char *ccontent_patterns(void);
size_t ccontent_patterns_length(void);

#endif
