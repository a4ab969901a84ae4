// What the test programs share.

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include "strandline.h"

#define CHECK(condition)                                                                        \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            fprintf(stderr, "%s:%d: %s; %s\n", __FILE__, __LINE__, #condition, strandline_message()); \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

#define OK(call) CHECK((call) == STRANDLINE_STATUS_OK)

#endif
