// The page's files, as the compiler finds them here.
#include "CDashboard.h"

#pragma clang diagnostic ignored "-Wc23-extensions"
static const unsigned char html[] = {
#embed "page.html"
};
static const unsigned char css[] = {
#embed "page.css"
};
static const unsigned char js[] = {
#embed "page.js"
};
static const unsigned char icon[] = {
#embed "icon.svg"
};

const unsigned char *cdashboard_html(size_t *length) {
  *length = sizeof html;
  return html;
}

const unsigned char *cdashboard_css(size_t *length) {
  *length = sizeof css;
  return css;
}

const unsigned char *cdashboard_js(size_t *length) {
  *length = sizeof js;
  return js;
}

const unsigned char *cdashboard_icon(size_t *length) {
  *length = sizeof icon;
  return icon;
}
