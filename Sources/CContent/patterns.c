// The pattern file as bytes of the program, so that a binary alone has its patterns.
#include "CContent.h"

#pragma clang diagnostic ignored "-Wc23-extensions"
static const unsigned char patterns[] = {
#embed "patterns.yaml"
};

const unsigned char *ccontent_patterns(void) { return patterns; }
size_t ccontent_patterns_length(void) { return sizeof patterns; }
