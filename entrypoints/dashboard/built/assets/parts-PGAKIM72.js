//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-IK6XHT5G.js";import"./chunk-IE4LMLRB.js";export{a as Activity,b as Invitations,c as NewProject};
