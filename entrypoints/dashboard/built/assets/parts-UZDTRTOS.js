//# allFunctionsCalledOnLoad
import{Q as a,R as b,S as c}from"./chunk-SFZI4KEY.js";import"./chunk-CWDCTVNM.js";export{a as Activity,b as Invitations,c as NewProject};
