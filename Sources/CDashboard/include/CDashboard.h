// The files of the dashboard's page as bytes of the program, so that a binary alone has its page.
#ifndef CDASHBOARD_H
#define CDASHBOARD_H

#include <stddef.h>

// The files beside files.c, byte for byte.
const unsigned char *cdashboard_html(size_t *length);
const unsigned char *cdashboard_css(size_t *length);
const unsigned char *cdashboard_js(size_t *length);
const unsigned char *cdashboard_icon(size_t *length);
const unsigned char *cdashboard_approvals_html(size_t *length);
const unsigned char *cdashboard_approvals_css(size_t *length);
const unsigned char *cdashboard_approvals_js(size_t *length);

#endif
